"""Starts and stops the demo's hub.

The hub ends when its pipe to this process closes, also after SIGKILL. A variable marks every
process, a label every container.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp
import psutil

from jupyterhub_binder.demo.containers import Containers
from jupyterhub_binder.demo.state import DemoError, DemoState
from jupyterhub_binder.errors import BinderError
from jupyterhub_binder.utils.http import open_session

MARK = "JUPYTERHUB_BINDER_DEMO"
"""In every process of a demo; the state folder."""

ATTEMPTS = 3
START_SECONDS = 120
STOP_SECONDS = 30

_CONFIG = Path(__file__).with_name("jupyterhub_config.py")
_LOOK_SECONDS = 0.1


def free_ports(count: int) -> list[int]:
    """Return unused ports of 127.0.0.1."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.append(one.getsockname()[1])
        return found


class DemoHub:
    """A hub with its proxy, service and servers. `stop` is idempotent."""

    def __init__(
        self, state: DemoState, port: int = 0, *, containers: Containers | None = None
    ) -> None:
        self.containers = containers
        self._state = state
        self._port = port
        self._ports: list[int] = []
        self.log_file = state.logs / "hub.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The hub's URL, once started."""
        return f"http://127.0.0.1:{self._ports[0]}/"

    async def start(self) -> None:
        """Wait for hub and service. Raises DemoError."""
        _require_proxy()
        self.log_file.unlink(missing_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            # A killed demo may have left processes; the lock shows that none runs now.
            await end_all(find_ours(self._state.folder))
            await self._remove_containers()
            try:
                await self._start_once()
                break
            except DemoError:
                # Another process may have taken a port before the hub did.
                await self.stop()
                if attempt == ATTEMPTS:
                    raise

    async def _start_once(self) -> None:
        self._ports = [self._port or free_ports(1)[0], *free_ports(3)]
        for left in self._state.hub.glob("traefik*.toml"):
            left.unlink()  # it would accept only the old password
        with self.log_file.open("a") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "jupyterhub", "--config", str(_CONFIG)),
                cwd=self._state.hub,
                env=self._environment(),
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        await self._wait_until_ready()

    def _environment(self) -> dict[str, str]:
        # These belong to a hub that runs this command, not to ours.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTERHUB_", "JPY_"))}
        path = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath)))
        found = kept | {
            "PATH": path,
            MARK: str(self._state.folder),
            f"{MARK}_PORTS": ",".join(map(str, self._ports)),
        }
        if self.containers is not None:
            settings = self.containers.settings
            found[f"{MARK}_CONTAINERS"] = settings.to_json()
            found["DOCKER_HOST"] = settings.docker_host
        return found

    async def _wait_until_ready(self) -> None:
        pages = ("hub/health", "services/binder/health")
        try:
            async with asyncio.timeout(START_SECONDS), open_session() as session:
                while not all([await _answers(session, self.url + page) for page in pages]):
                    if self._process is None or self._process.returncode is not None:
                        raise DemoError(f"The hub did not start: {_why(self.log_file)}")
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise DemoError(f"The hub did not answer within {START_SECONDS} s.") from None

    async def wait(self) -> None:
        """Wait until the hub ends."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """End the hub and all its processes."""
        if self._process is None:
            return
        children = _descendants(self._process.pid)
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        await end_all([*children, *find_ours(self._state.folder)])
        await self._remove_containers()

    async def _remove_containers(self) -> None:
        """Remove a killed hub's servers."""
        if self.containers is None:
            return
        try:
            await self.containers.remove_all()
        except BinderError as error:
            raise DemoError(f"Some containers may still exist: {error}") from error


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _require_proxy() -> None:
    if importlib.util.find_spec("jupyterhub_traefik_proxy") is None:
        raise DemoError(
            "The demo needs packages that are not installed. Install jupyterhub-binder with its extra "
            "[demo]: pip install '/path/to/checkout[demo]', or with a wheel's file name and [demo]."
        )


def _why(log_file: Path) -> str:
    """Return the log line that best explains the hub's end."""
    lines = [line for line in log_file.read_text(errors="replace").splitlines() if line.strip()]
    telling = [
        line for line in lines if re.match(r"\[[CE] [^]]*\] *\S|\s*\w*(Error|Exception): ", line)
    ]
    return (telling or lines or ["it said nothing"])[-1].strip()


# --- Whose processes ----------------------------------------------------------------------------


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def find_ours(folder: Path) -> list[psutil.Process]:
    """Return the demo's other processes."""
    mine = os.getpid()
    return [p for p in psutil.process_iter() if p.pid != mine and _has_mark(p, str(folder))]


def _has_mark(process: psutil.Process, folder: str) -> bool:
    try:
        return process.environ().get(MARK) == folder
    except (psutil.Error, OSError):
        return False


async def end_all(processes: Iterable[psutil.Process], *, grace_seconds: float = 5) -> None:
    """End processes: SIGTERM, then SIGKILL."""
    await asyncio.to_thread(_end_all, list(set(processes)), grace_seconds)


def _end_all(processes: list[psutil.Process], grace_seconds: float) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=grace_seconds)
