"""Command lines that run repository code in bubblewrap.

Code in the sandbox sees the system's programs (read-only), its mounts, and its own /proc, /dev and
processes. It has no capabilities, no other users' files, and none of our variables.

It has **no network**, not even loopback: otherwise a build could reach the hub's API or cloud
metadata. Steps that download use `egress`.

The sandbox does not limit the number of processes or the total memory. For that, run the service in
a cgroup (systemd: MemoryMax, TasksMax).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jupyterhub_binder.utils.subprocess import ProcessFailed, run

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
_ETC = (
    # Not all of these two: they hold private keys beside the certificates.
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/fonts",
)
_USERS = "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1000:1000:builder:{home}:/bin/bash\n"
_UID = "1000"

MISSING = (
    "bubblewrap is not installed, so builds can't run a repository's own code. Install it "
    "(Debian and Ubuntu: bubblewrap)."
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A host file or folder in the sandbox, by default at the same path."""

    source: Path
    target: Path
    writable: bool = False

    @classmethod
    def same(cls, path: Path, *, writable: bool = False) -> Mount:
        """Return a mount at the same path."""
        return cls(path, path, writable)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """bubblewrap on this machine."""

    bwrap: Path
    flags: tuple[str, ...] = ("--disable-userns",)
    """More flags, for newer versions."""

    @classmethod
    async def find(cls) -> tuple[Sandbox | None, str | None]:
        """Return a working sandbox, or None and what to do."""
        found = shutil.which("bwrap")
        if found is None:
            return None, MISSING
        why = ""
        for flags in (("--disable-userns",), ()):
            sandbox = cls(Path(found), flags)
            try:
                await sandbox._probe()
            except (ProcessFailed, TimeoutError, OSError) as error:
                why = str(getattr(error, "output", "") or error).strip().splitlines()[-1]
            else:
                return sandbox, None
        return None, (
            f"bubblewrap can't create a sandbox on this machine ({why}). Unprivileged user "
            "namespaces may be disabled."
        )

    async def _probe(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            command = self.command(
                ["/bin/sh", "-c", "exit 0"], home=Path(folder), mounts=[], env={}, cwd=Path("/")
            )
            await run(command, env={}, cwd=Path(folder), timeout_seconds=20)

    def command(
        self,
        args: Sequence[str | Path],
        *,
        home: Path,
        mounts: Sequence[Mount],
        env: Mapping[str, str],
        cwd: Path,
    ) -> list[str]:
        """Return the command line that runs `args` in the sandbox.

        `home` is an empty host folder for /tmp, the home folder and /dev/shm, so that they fill
        disk, not memory. `env` is the command's environment besides HOME, TMPDIR and PATH. Later
        mounts cover earlier ones.
        """
        inside = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **env}
        inside |= {"HOME": "/home/builder", "TMPDIR": "/tmp"}  # noqa: S108
        return [
            str(self.bwrap),
            *("--unshare-all", "--unshare-user", *self.flags, "--cap-drop", "ALL"),
            *("--uid", _UID, "--gid", _UID, "--hostname", "build"),
            *("--die-with-parent", "--new-session", "--clearenv"),
            *(part for path in _SYSTEM for part in _system(Path(path))),
            *(part for path in _ETC for part in ("--ro-bind-try", path, path)),
            *("--proc", "/proc", "--dev", "/dev"),
            *_scratch(home),
            *(part for mount in mounts for part in _bind(mount)),
            # To the kernel a root service is root in here, too: /proc/sys would be its to set.
            *("--remount-ro", "/proc", "--remount-ro", "/", "--chdir", str(cwd)),
            *(part for name, value in inside.items() for part in ("--setenv", name, value)),
            "--",
            *map(str, args),
        ]


def _system(path: Path) -> tuple[str, ...]:
    """Mount a system folder, or copy a symbolic link."""
    if path.is_symlink():
        return "--symlink", str(path.readlink()), str(path)
    return "--ro-bind-try", str(path), str(path)


def _scratch(home: Path) -> list[str]:
    parts = []
    for name, target in (("tmp", "/tmp"), ("home", "/home/builder"), ("shm", "/dev/shm")):  # noqa: S108
        folder = home / name
        folder.mkdir(parents=True, exist_ok=True)
        parts += ["--bind", str(folder), target]
    passwd = home / "passwd"
    passwd.write_text(_USERS.format(home="/home/builder"))
    return [*parts, "--ro-bind", str(passwd), "/etc/passwd"]


def _bind(mount: Mount) -> tuple[str, str, str]:
    kind = "--bind" if mount.writable else "--ro-bind"
    return kind, str(mount.source), str(mount.target)
