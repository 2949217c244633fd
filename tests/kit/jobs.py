"""Jobs for backends, made without a store or a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.model import (
    BackendOutput,
    Build,
    BuildJob,
    BuildState,
    Checkpoint,
    Image,
    Line,
    Phase,
    Recipe,
    Spec,
)
from jupyterhub_binder.repositories.recipe import read_recipe
from jupyterhub_binder.utils.names import content_key, new_id


def build_hosts() -> list[str]:
    """Return the default of `VenvBackend.build_hosts`, and by name the hosts of pip's own index.

    A machine that tests run on may resolve those to a mirror of its own, whose address is not
    public: such hosts are reached by name only. Hosts of an index that pip or uv was configured
    with are added by the backend.
    """
    try:
        from pip._internal.models.index import PyPI
    except ImportError:
        return ["*"]
    return ["*", PyPI.netloc, PyPI.file_storage_domain]


def make_job(
    *,
    repo: str = "org/name",
    ref: str = "HEAD",
    options: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
    checkout: Path | None = None,
    checkpoint: Mapping[str, Any] | None = None,
) -> BuildJob:
    clone_url = f"https://github.com/{repo}"
    build = build_of(
        clone_url,
        "c" * 40,
        base_key=content_key(
            clone_url=clone_url,
            resolved_ref="c" * 40,
            options={**(options or {}), "checkout": str(checkout)},
            fingerprint="test",
        ),
        spec=Spec("gh", repo, ref),
        label=f"github.com/{repo}",
        options=options or {},
        checkpoint=checkpoint or {},
    )
    return BuildJob(build, recipe or Recipe(), checkout)


def build_of(clone_url: str, sha: str, **changes: Any) -> Build:
    """A build that has begun, of a commit of a repository."""
    build = Build(
        id=new_id(),
        base_key=content_key(clone_url=clone_url, resolved_ref=sha, options={}, fingerprint="test"),
        generation=0,
        spec=Spec("git", clone_url, sha),
        resolved_ref=sha,
        label=clone_url,
        repo_url=clone_url,
        clone_url=clone_url,
        options={},
        backend="test",
        state=BuildState.RUNNING,
        phase=Phase.BUILDING,
        created=datetime.now(UTC),
        created_by="ada",
    )
    return replace(build, **changes)


def again(job: BuildJob, checkpoint: Mapping[str, Any]) -> BuildJob:
    """The same job, as a restarted service hands it over."""
    return replace(job, build=replace(job.build, checkpoint=checkpoint, attempts=1))


async def collect(backend: BuildBackend, job: BuildJob) -> list[BackendOutput]:
    return [output async for output in backend.build(job)]


async def collect_into(said: list[BackendOutput], backend: BuildBackend, job: BuildJob) -> None:
    """Append each output as it comes, so that a failure leaves what was said before it."""
    async for output in backend.build(job):
        said.append(output)  # noqa: PERF401


def lines(outputs: list[BackendOutput]) -> list[str]:
    return [output.text for output in outputs if isinstance(output, Line)]


def checkpoints(outputs: list[BackendOutput]) -> list[Checkpoint]:
    return [output for output in outputs if isinstance(output, Checkpoint)]


def image_of(outputs: list[BackendOutput]) -> Image:
    assert isinstance(outputs[-1], Image)
    return outputs[-1]


def make_checkout(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """A folder of files; a `postBuild` may be run."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def job_of(
    folder: Path, files: Mapping[str, str | bytes], *, python: str = "", **more: Any
) -> BuildJob:
    """A job that builds these files."""
    checkout = make_checkout(folder, files)
    recipe = read_recipe(checkout)
    recipe = replace(recipe, python=python) if python else recipe
    return make_job(recipe=recipe, checkout=checkout, **more)
