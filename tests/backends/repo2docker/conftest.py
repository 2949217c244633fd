"""Backends on the tests' engine, each with names and folders of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_binder.backends.repo2docker.backend import Repo2DockerBackend
from jupyterhub_binder.utils.names import new_id
from tests.kit.backend_repo2docker import programs
from tests.kit.buildx import find_config
from tests.kit.engine import Engine

Make = Callable[..., Any]


@pytest.fixture(params=[*programs(), "buildx"], ids=lambda param: Path(param).parent.name or param)
def docker(request: pytest.FixtureRequest, docker_engine: Engine) -> dict[str, str]:
    """Return a backend's traits for each way that Docker's programs here can build."""
    if request.param == "buildx":
        return {"engine": "docker", "docker_config": find_config()}
    return {"engine": request.param}


@pytest.fixture
async def make_backend(docker_engine: Engine, tmp_path: Path):
    """Make and start a backend that needs no conda; stopped at the end."""
    prefix = f"docker-tests/{new_id()}/"
    async with AsyncExitStack() as stack:

        async def make(**traits: Any) -> Repo2DockerBackend:
            given = {
                "work_dir": str(tmp_path / "work"),
                "image_prefix": prefix,
                "buildpack": "debian",
                "base_image": docker_engine.base_image,
                **traits,
            }
            backend = Repo2DockerBackend(**given)
            stack.push_async_callback(backend.stop)
            await backend.start()
            return backend

        yield make
