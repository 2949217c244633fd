"""The demo's folder: example repository, homes, databases, logs and password."""

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

from jupyterhub_binder.utils.share import share_folder
from jupyterhub_binder.utils.trees import remove_tree

PERSON = "ada"
CHECKER = "check"
ADMIN = "admin"
EXAMPLE = "daylight"

_PASSWORD_LETTERS = "abcdefghjkmnpqrstvwxyz23456789"  # noqa: S105 - of what passwords are made


class DemoError(Exception):
    """The demo cannot continue; the message says why."""


@dataclass(frozen=True)
class DemoState:
    """Paths and secrets of one demo."""

    folder: Path
    password: str
    admin_password: str
    backend: str = "venv"
    """Each backend has its own databases, because environments do not work across backends."""

    @classmethod
    def load(cls, folder: Path, *, backend: str = "venv") -> DemoState:
        """Return the state of a folder prepared by `open`; for the hub's side."""
        names = ("password", "admin-password")
        words = [(folder / name).read_text("utf-8").strip() for name in names]
        return cls(folder, *words, backend=backend)

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[DemoState]:
        """Prepare and lock the folder. Raises DemoError."""
        folder = folder.resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        except OSError as error:
            raise DemoError(f"Can't use the folder {folder}: {error}") from error
        with _lock(folder / "lock"):
            _keep_password(folder / "password", groups=3)
            _keep_password(folder / "admin-password", groups=7)  # the hub wants a long one
            state = cls.load(folder)
            for part in (state.logs, state.homes):
                part.mkdir(exist_ok=True)
            state.make_example()
            yield state

    def has_begun(self, backend: str) -> bool:
        """Say whether this backend was used here before."""
        return replace(self, backend=backend).service.exists()

    def using(self, backend: str) -> DemoState:
        """Return the state for a backend."""
        state = replace(self, backend=backend)
        for part in (state.hub, state.service):
            part.mkdir(exist_ok=True)
        return state

    @property
    def name(self) -> str:
        """Name prefix for Docker."""
        return f"binder-demo-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:8]}"

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.folder / "logs"

    @property
    def homes(self) -> Path:
        """Folder of the homes."""
        return self.folder / "homes"

    @property
    def hub(self) -> Path:
        """Working folder of the hub."""
        return self._own("hub")

    @property
    def service(self) -> Path:
        """Folder of the service's state."""
        return self._own("service")

    def _own(self, part: str) -> Path:
        return self.folder / (part if self.backend == "venv" else f"{part}-{self.backend}")

    @property
    def environments(self) -> Path:
        """Folder of the environments."""
        return self.folder / "environments"

    @property
    def repositories(self) -> Path:
        """The only folder with repositories for ``file://``."""
        # The service does not accept file:// URLs with %20.
        if quote(str(self.folder)) == str(self.folder):
            return self.folder / "repositories"
        name = f"jupyterhub-binder-{os.getuid()}-{self.folder.stat().st_ino}"
        return Path("/tmp") / name  # noqa: S108 - ours alone: see `make_example`

    @property
    def example_url(self) -> str:
        """URL of the example."""
        return f"file://{self.repositories / EXAMPLE}"

    def make_example(self) -> None:
        """Commit the bundled example. Its SHA is the same on every machine."""
        self.repositories.mkdir(mode=0o700, exist_ok=True)
        if self.repositories.stat().st_uid != os.getuid():
            raise DemoError(f"{self.repositories} belongs to another user.")
        target = self.repositories / EXAMPLE
        remove_tree(target)
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
        raise DemoError("git is not installed. The demo needs it.") from None
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
                f"Another demo is running in {path.parent}. Stop it, or use --state."
            ) from None
        yield
