"""The demonstration's one folder: example repository, homes, databases, logs, password.

Knows no process but one: the demonstration that holds the folder's lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from jupyterhub_binder.web.templates import share_folder

PERSON = "ada"
CHECKER = "check"
ADMIN = "admin"
EXAMPLE = "daylight"

_PASSWORD_LETTERS = "abcdefghjkmnpqrstvwxyz23456789"  # noqa: S105 - of what passwords are made


class DemoError(Exception):
    """The demonstration cannot go on; the message says why."""


@dataclass(frozen=True)
class DemoState:
    """Paths and secrets of one demonstration."""

    folder: Path
    password: str
    admin_password: str
    backend: str = "venv"
    """What makes the environments: what one makes, the other's servers cannot run in."""

    @classmethod
    def load(cls, folder: Path, *, backend: str = "venv") -> DemoState:
        """Return the state of a folder that `open` has prepared; for the hub's side."""
        names = ("password", "admin-password")
        words = [(folder / name).read_text("utf-8").strip() for name in names]
        return cls(folder, *words, backend=backend)

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[DemoState]:
        """Prepare a folder, and keep every other demonstration out of it. Raises DemoError."""
        folder = folder.resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise DemoError(f"The folder {folder} cannot be used: {error}") from error
        with _lock(folder / "lock"):
            _keep_password(folder / "password", groups=3)
            _keep_password(folder / "admin-password", groups=7)  # the hub wants a long one
            state = cls.load(folder)
            for part in (state.logs, state.homes):
                part.mkdir(exist_ok=True)
            state.make_example()
            yield state

    def has_begun(self, backend: str) -> bool:
        """Say whether this folder has been used with this backend before."""
        return replace(self, backend=backend).service.exists()

    def using(self, backend: str) -> DemoState:
        """Return the state for environments of this backend, with databases of its own."""
        state = replace(self, backend=backend)
        for part in (state.hub, state.service):
            part.mkdir(exist_ok=True)
        return state

    @property
    def name(self) -> str:
        """Return what the names of this folder's things begin with outside of it, in Docker."""
        return f"binder-demo-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:8]}"

    @property
    def logs(self) -> Path:
        """Return where every process writes its log."""
        return self.folder / "logs"

    @property
    def homes(self) -> Path:
        """Return where people's homes are."""
        return self.folder / "homes"

    @property
    def hub(self) -> Path:
        """Return the hub's working folder, with its database and its proxy's files."""
        return self._own("hub")

    @property
    def service(self) -> Path:
        """Return where the binder service keeps its database and its work."""
        return self._own("service")

    def _own(self, part: str) -> Path:
        return self.folder / (part if self.backend == "venv" else f"{part}-{self.backend}")

    @property
    def environments(self) -> Path:
        """Return where the environments are that servers run in."""
        return self.folder / "environments"

    @property
    def repositories(self) -> Path:
        """Return the one folder whose repositories may be fetched by ``file://``."""
        # An address with %20 in it is not a file:// address that the service takes.
        if quote(str(self.folder)) == str(self.folder):
            return self.folder / "repositories"
        name = f"jupyterhub-binder-{os.getuid()}-{self.folder.stat().st_ino}"
        return Path("/tmp") / name  # noqa: S108 - ours alone: see `make_example`

    @property
    def example_url(self) -> str:
        """Return the example repository's address."""
        return f"file://{self.repositories / EXAMPLE}"

    def make_example(self) -> None:
        """Commit the bundled example; the same files make the same commit on every machine."""
        self.repositories.mkdir(mode=0o700, exist_ok=True)
        if self.repositories.stat().st_uid != os.getuid():
            raise DemoError(f"{self.repositories} belongs to somebody else.")
        target = self.repositories / EXAMPLE
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for file in sorted((share_folder() / "example").iterdir()):
            if file.is_file():
                shutil.copyfile(file, target / file.name)
        _git(target, "init", "--quiet")
        _git(target, "symbolic-ref", "HEAD", "refs/heads/main")
        _git(target, "add", "--all")
        _git(target, "commit", "--quiet", "--message", "A year of daylight")


def _git(folder: Path, *args: str) -> None:
    who = {"NAME": "jupyterhub-binder", "EMAIL": "demo@example.org", "DATE": "2026-01-01T00:00:00Z"}
    env = {
        f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()
    }
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(folder.parent)}
    try:
        subprocess.run(
            ["git", "-C", str(folder), "-c", "core.fileMode=false", *args],
            env=env | {"PATH": os.environ.get("PATH", os.defpath)},
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise DemoError("git is not installed: it is the one program that is needed.") from None
    except subprocess.CalledProcessError as error:
        raise DemoError(f"git {args[0]}: {error.stderr.strip()}") from error


def _keep_password(path: Path, *, groups: int) -> None:
    if not path.exists():
        password = "-".join(
            "".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(5)) for _ in range(groups)
        )
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(password + "\n")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DemoError(
                f"Another demonstration runs with {path.parent}: stop it, or use --state."
            ) from None
        yield
