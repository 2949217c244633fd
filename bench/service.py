"""The service as a process of its own, with a simulated hub in the process that measures it.

So the process's time and memory are the service's alone, as an admin's tools show them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.kit import fake_hub

ROOT = Path(__file__).parent.parent
PEOPLE = tuple(f"person{n}" for n in range(50))
"""Known to the hub, beside ada."""

_START_SECONDS = 60


def headers_of(person: str) -> dict[str, str]:
    """Return the headers of a person's program."""
    return {"Authorization": f"token {person}-token", "Content-Type": "application/json"}


HEADERS = headers_of("ada")


@dataclass
class Service:
    """The running service."""

    process: psutil.Process
    host: str
    port: int
    prefix: str
    state_dir: Path
    ready_seconds: float

    @property
    def url(self) -> str:
        """Its address, with a slash at the end."""
        return f"http://{self.host}:{self.port}{self.prefix}"

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        times = self.process.cpu_times()
        return times.user + times.system

    def rss(self) -> int:
        """Return its resident memory, in bytes."""
        return self.process.memory_info().rss


@asynccontextmanager
async def running_service(
    config: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    state_dir: Path | None = None,
    people: Iterable[str] = PEOPLE,
) -> AsyncIterator[Service]:
    """Run the service with the fake backend and a hub that knows ada, root and these people."""
    fake_hub.PEOPLE.update(dict.fromkeys(people, fake_hub.PEOPLE["ada"]))
    async with fake_hub.running_hub() as hub, contextlib.AsyncExitStack() as stack:
        if state_dir is None:
            state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        written = state_dir / "bench-config.json"
        written.write_text(json.dumps(_config(hub.api_url, state_dir, config or {})))
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bench.serve",
            str(written),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                port, prefix = (await process.stdout.readline()).decode().split()
            ready = time.monotonic() - began
            yield Service(
                psutil.Process(process.pid), "127.0.0.1", int(port), prefix, state_dir, ready
            )
        finally:
            process.terminate()
            await process.wait()


def _config(
    hub_api: str, state_dir: Path, more: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    config: dict[str, dict[str, Any]] = {
        "JupyterHubBinder": {
            "backend": "fake",
            "state_dir": str(state_dir),
            "ip": "127.0.0.1",
            "port": 0,
            "log_level": 40,
        },
        "HubOAuth": {
            "api_url": hub_api,
            "api_token": fake_hub.OWN_TOKEN,
            "oauth_client_id": "service-binder",
        },
        "HubClient": {"api_url": hub_api, "api_token": fake_hub.OWN_TOKEN},
        "Git": {"protocols": ["https", "http"], "private_hosts": ["127.0.0.1"]},
        "Environments": {"max_per_user": 10_000_000},
        "Builds": {"max_active_per_user": 100, "max_running": 20, "max_running_per_user": 20},
    }
    for name, traits in more.items():
        config.setdefault(name, {}).update(traits)
    return config
