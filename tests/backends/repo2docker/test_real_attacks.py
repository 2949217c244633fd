"""What a repository must not do to others, or to the machine that builds it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jupyterhub_binder.utils.names import new_id
from tests.kit.backend_repo2docker import SERVER
from tests.kit.buildx import find_config
from tests.kit.engine import BASE_IMAGE
from tests.kit.jobs import collect, image_of, job_of, lines

pytestmark = pytest.mark.docker


async def test_cache_mounts_of_a_repository_are_its_own(make_backend, tmp_path):
    backend = await make_backend(docker_config=find_config())
    mount = "RUN --mount=type=cache,target=/cache"

    async def say(repo: str, step: str) -> list[str]:
        dockerfile = f"{SERVER}{mount} : {tmp_path} {new_id()}; {step}\nUSER 1000\n"
        job = job_of(tmp_path / new_id(), {"Dockerfile": dockerfile})
        url = f"https://git.example.org/{repo}"
        job = replace(job, build=replace(job.build, id=new_id(), base_key=new_id(), clone_url=url))
        return lines(await collect(backend, job))

    await say("mine", "echo secret > /cache/file")
    assert any(line.endswith(" secret") for line in await say("mine", "cat /cache/file"))
    assert not any(line.endswith(" secret") for line in await say("other", "cat /cache/* || :"))


async def test_labels_of_an_image_remove_no_container(make_backend, docker_engine, tmp_path):
    """A container has its image's labels, and those of a base image may hold several lines."""
    backend = await make_backend()
    victim, base = f"victim-{new_id()}", f"evil-{new_id()}"
    docker_engine.run("run", "--detach", f"--name={victim}", BASE_IMAGE, "sleep", "1000")
    label = f"org.jupyter.binder.workspace=q\n{victim} x-1-1"
    docker_engine.run("create", f"--name={base}", BASE_IMAGE)
    docker_engine.run("commit", "--change", "USER 1000", base, base)
    docker_engine.run("rm", base)
    evil = docker_engine.run("run", "--detach", f"--label={label}", base, "sleep", "1000").strip()
    try:
        await (await make_backend())._sweep()
        await collect(
            backend, job_of(tmp_path / "checkout", {"Dockerfile": f"{SERVER}USER 1000\n"})
        )
        running = docker_engine.run("ps", "--format={{.Names}}").split()
        assert victim in running
    finally:
        docker_engine.run("rm", "--force", victim, evil, check=False)
        docker_engine.run("image", "rm", base, check=False)


async def test_configuration_in_a_repository_is_not_executed(make_backend, tmp_path):
    backend = await make_backend()
    proof = tmp_path / "proof"
    files = {
        "Dockerfile": f"{SERVER}USER 1000\n",
        "repo2docker_config.py": f"open({str(proof)!r}, 'w')\n",
    }
    await collect(backend, job_of(tmp_path / "checkout", files))
    assert not proof.exists()


async def test_links_bring_nothing_of_this_machine_into_an_image(
    make_backend, docker_engine, tmp_path
):
    backend = await make_backend(smoke_test=False)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("the secret")
    job = job_of(tmp_path / "checkout", {"requirements.txt": ""})
    (tmp_path / "checkout" / "folder").symlink_to(tmp_path / "secret")
    (tmp_path / "checkout" / "file").symlink_to(tmp_path / "secret" / "key.txt")
    image = image_of(await collect(backend, job))
    script = "cat /srv/repo/file /srv/repo/folder/key.txt; ls -l /srv/repo"
    shown = docker_engine.run("run", "--rm", image.name, "sh", "-c", script, check=False)
    assert "the secret" not in shown
    assert "folder" in shown
