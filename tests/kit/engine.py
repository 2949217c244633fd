"""A Docker engine of the tests' own, and the base image that their builds start from.

Starts a `dockerd` (Debian: docker.io) whose data, socket and pid file are in one temporary
folder, so that it touches no other engine of the machine; stops it by its pid. The base image
is a minimal Debian made by debootstrap from the machine's own mirror, with the machine's
certificates inside; it is kept in the user's cache, so that only the first run takes a minute.

    sudo python -m tests.kit.engine       an engine to try with, until Ctrl-C or kill;
                                             tests use it through BINDER_TEST_DOCKER_HOST
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BASE_IMAGE = "binder-test-base:bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

_RELEASE = "bookworm"
_PULLED_BASE = "docker.io/library/python:3.11-bookworm"
_PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates", "git")
_START_SECONDS = 60.0
_ALONE = ("unshare", "--net")
_NEEDED = ("dockerd", "docker", "debootstrap", "tar", "apt-get")


def find_missing() -> str | None:
    """Say what this machine lacks for an engine of the tests' own; None if nothing."""
    if os.geteuid() != 0:
        return "root, to start a Docker engine"
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [name for name in _NEEDED if shutil.which(name, path=path) is None]
    return f"{', '.join(missing)} (Debian: docker.io debootstrap)" if missing else None


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine."""

    host: str
    """For DOCKER_HOST."""
    base_image: str
    cli: str = "docker"

    def run(self, *args: str, check: bool = True) -> str:
        """Run a docker command against it; return what it printed."""
        done = subprocess.run(
            [self.cli, *args],
            env={**os.environ, "DOCKER_HOST": self.host},
            capture_output=True,
            text=True,
            errors="replace",
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(args)}: {done.stderr}")
        return done.stdout

    def list(self, *args: str) -> list[str]:
        """Run a command that prints a list; return it sorted."""
        return sorted(self.run(*args).split())


@contextlib.contextmanager
def open_engine() -> Iterator[Engine]:
    """Run an engine of our own where that is possible, else use the one that answers."""
    if find_missing() is None and "BINDER_TEST_DOCKER_HOST" not in os.environ:
        with start_engine() as engine:
            yield engine
        return
    host = os.environ.get("BINDER_TEST_DOCKER_HOST") or os.environ.get("DOCKER_HOST", "")
    engine = Engine(host, BASE_IMAGE)
    if not engine.list("image", "ls", "--quiet", BASE_IMAGE):
        engine.run("pull", "--quiet", _PULLED_BASE)
        engine.run("tag", _PULLED_BASE, BASE_IMAGE)
    yield engine


@contextlib.contextmanager
def start_engine() -> Iterator[Engine]:
    """Run an engine that has the base image; end it and remove its folder afterwards."""
    base = ensure_base()
    # A socket's path may have 107 characters: no deep folder.
    folder = Path(tempfile.mkdtemp(prefix="binder-engine-", dir="/tmp"))
    try:
        with _dockerd(folder) as daemon:
            engine = Engine(daemon.host, BASE_IMAGE)
            import_base(engine, base)
            yield engine
    finally:
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def start_mortal_engine() -> Iterator[tuple[Engine, Daemon]]:
    """Run an engine with the base image, without a network, that a test may kill and start."""
    base = ensure_base()
    folder = Path(tempfile.mkdtemp(prefix="binder-engine-", dir="/tmp"))
    try:
        # In a network of its own: without a bridge, it would remove another engine's.
        with _dockerd(folder, "--bridge=none", "--iptables=false", within=_ALONE) as daemon:
            engine = Engine(daemon.host, BASE_IMAGE)
            import_base(engine, base)
            yield engine, daemon
    finally:
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _dockerd(folder: Path, *options: str, within: Sequence[str] = ()) -> Iterator[Daemon]:
    (folder / "daemon.json").write_text("{}\n")
    daemon = Daemon(folder, options, within)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.end()


class Daemon:
    """A `dockerd` in a folder."""

    def __init__(self, folder: Path, options: Sequence[str], within: Sequence[str]) -> None:
        self.host = f"unix://{folder}/docker.sock"
        self._folder = folder
        self._command = (*within, "dockerd", *options)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = self._folder / "dockerd.log"
        process = _launch(self._folder, self.host, self._command, log)
        self._processes.append(process)
        _wait_for(process, self.host, log)

    def kill(self) -> None:
        """End it as a crash does; its containerd stays for the next one."""
        self._processes[-1].kill()
        self._processes[-1].wait()

    def end(self) -> None:
        """End it, and what was left of those that were killed."""
        for process in reversed(self._processes):
            _end(process)


def _launch(folder: Path, host: str, words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    command = [
        # It ends with us, however we end.
        *("setpriv", "--pdeathsig", "TERM"),
        *words,
        f"--config-file={folder}/daemon.json",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec{len(list(folder.glob('exec*'))) or ''}",
        f"--pidfile={folder}/docker.pid",
        f"--host={host}",
        "--group=root",
    ]
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        )


def _wait_for(process: subprocess.Popen[bytes], host: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    env = {**os.environ, "DOCKER_HOST": host}
    while subprocess.run(["docker", "version"], env=env, capture_output=True).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"dockerd does not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Its own containerd is in its group, and ends with it unless it was killed.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def unmount_below(folder: Path) -> None:
    """Let go of whatever is mounted below a folder, before it is removed."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True)


# --- The base image ---------------------------------------------------------------------------


def ensure_base() -> Path:
    """Return the archive of the base image's files, made if it is not in the cache yet."""
    parts = [_RELEASE, *_PACKAGES, str(CERTIFICATES), _read_certificates().hex()]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    archive = get_cache() / f"base-{_RELEASE}-{name}.tar"
    with archive.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            with tempfile.TemporaryDirectory(prefix="binder-base-", dir="/var/tmp") as folder:
                try:
                    _make_base(Path(folder), archive)
                finally:
                    unmount_below(Path(folder))
    return archive


def get_cache() -> Path:
    """Return the folder of what later runs need as well, made."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "jupyterhub-binder-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make_base(folder: Path, archive: Path) -> None:
    root = folder / "root"
    check(
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(_PACKAGES)}",
        _RELEASE,
        str(root),
        *filter(None, [find_mirror()]),  # else debootstrap's own
    )
    shutil.rmtree(root / "var/cache/apt/archives")
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    (root / CERTIFICATES.relative_to("/")).write_bytes(_read_certificates())
    unfinished = archive.with_suffix(".partial")
    check("tar", "-C", str(root), "--exclude=./dev/*", "-cf", str(unfinished), ".")
    unfinished.rename(archive)


def find_mirror() -> str:
    """Return the mirror that this machine's apt uses for the release; empty where it uses none."""
    targets = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)"]
    output = subprocess.run(targets, capture_output=True, text=True).stdout
    found = (line.split() for line in output.splitlines())
    mirrors = [words[1] for words in found if len(words) == 2 and words[0] == _RELEASE]
    return next(iter(mirrors), "")


def _read_certificates() -> bytes:
    return CERTIFICATES.read_bytes() if CERTIFICATES.exists() else b""


def import_base(engine: Engine, archive: Path) -> None:
    """Give an engine the base image."""
    changes = [
        f"ENV SSL_CERT_FILE={CERTIFICATES} PIP_CERT={CERTIFICATES} "
        f"REQUESTS_CA_BUNDLE={CERTIFICATES} PIP_DISABLE_PIP_VERSION_CHECK=1",
        'CMD ["bash"]',
    ]
    options = [option for change in changes for option in ("--change", change)]
    engine.run("import", *options, str(archive), engine.base_image)


def check(*command: str, cwd: Path | None = None) -> None:
    """Run a command of the system's, and fail with what it said."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    env = {**os.environ, "PATH": path, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=env, cwd=cwd
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")


def main(arguments: Sequence[str]) -> None:
    """Run an engine until Ctrl-C; with `base`, only make the base image."""
    if missing := find_missing():
        sys.exit(f"This machine lacks {missing}.")
    if "base" in arguments:
        print(ensure_base())
        return
    # A program in the background is not told of Ctrl-C: a plain kill ends it as tidily.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with start_engine() as engine, contextlib.suppress(KeyboardInterrupt):
        print(f"export DOCKER_HOST={engine.host}  # base image: {engine.base_image}", flush=True)
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])
