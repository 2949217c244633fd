"""What keeping in step costs: an environment of a known recipe, from the request to ready."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import show
from bench.load import Client, request
from bench.service import Service, running_service
from tests.kit.git_server import GitServer

ROUNDS = 10


async def measure() -> None:
    """Print the figures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        GitServer.running(Path(folder) / "git") as server,
    ):
        repository = server.make_repo("org/repo", {"requirements.txt": "# nothing\n"})
        config: dict[str, dict[str, Any]] = {
            "JupyterHubBinder": {"backend": "venv"},
            "Providers": {"resolve_cache_seconds": 0},
            "VenvBackend": {
                "environments_root": f"{folder}/environments",
                "base_packages": [],
                "smoke_test": [],
            },
        }
        async with running_service(config) as service:
            first = await _ready_seconds(service, repository.url)
            seconds = []
            for number in range(ROUNDS):
                repository.commit({"index.ipynb": f"{number}"})
                seconds.append(await _ready_seconds(service, repository.url))
    show(
        "known_recipe_ready_seconds_p50",
        statistics.median(seconds),
        "s",
        goal="< 1",
        digits=2,
        max_seconds=round(max(seconds), 2),
        first_build_seconds=round(first, 2),
    )


async def _ready_seconds(service: Service, url: str) -> float:
    """Ask for an environment of the newest commit, and wait until it is ready."""
    began = time.monotonic()
    body = json.dumps({"url": url, "ref": "main"}).encode()
    async with Client(service) as client:
        create = request(service, "POST", "api/v1/environments", body)
        made = json.loads(await client.ask(create, expect=201))
        build = request(service, "GET", f"api/v1/builds/{made['latest']['id']}")
        while (state := json.loads(await client.ask(build))["state"]) != "built":
            if state == "failed":
                raise RuntimeError("the build failed")
            await asyncio.sleep(0.02)
    return time.monotonic() - began
