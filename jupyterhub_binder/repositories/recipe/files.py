"""Finds and reads configuration files safely: links, sizes, encodings."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from jupyterhub_binder.model import Finding, Severity
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.submodules import read_submodules
from jupyterhub_binder.utils.units import format_bytes

MAX_BYTES = 2**20
"""Larger files are not read."""

MAX_FINDINGS = 40
_MAX_NAMED = 50
_MAX_PATH_BYTES = 255
"""Of a path that a peek fetches: all of them and their parents go to one command of Git."""

_FIRST_BYTES = 2**16

KINDS = (
    "Dockerfile",
    "Project.toml",
    "JuliaProject.toml",
    "REQUIRE",
    "default.nix",
    "runtime.txt",
    "install.R",
    "DESCRIPTION",
    "environment.yml",
    "environment.yaml",
    "conda-lock.yml",
    "pixi.lock",
    "pixi.toml",
    "Pipfile",
    "Pipfile.lock",
    "requirements.txt",
    "setup.py",
    "uv.lock",
    "pylock.toml",
    "pyproject.toml",
    ".python-version",
    "apt.txt",
    "postBuild",
    "start",
)
"""In display order."""

FOLDERS = ("binder", ".binder")

AT_ROOT_ONLY = frozenset({"setup.py", "uv.lock", "pyproject.toml", "DESCRIPTION"})
"""Files that count only without a configuration folder."""


def no_submodule(_: str) -> bool:
    """Fetch no submodule."""
    return False


@dataclass
class Checkout:
    """A checkout's configuration folder and findings."""

    root: Path
    fetches: Callable[[str], bool] = no_submodule
    """Whether a submodule with this URL, as written, is fetched."""
    directory: str = ""
    findings: list[Finding] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    """Paths that links or lines name and that are not here: a peek fetches them."""
    submodules: tuple[str, ...] = ()
    """Folders of submodules that are not fetched."""
    not_utf8: set[str] = field(default_factory=set)
    """Files in another encoding."""
    included: set[str] = field(default_factory=set)
    """Files that a requirements file includes."""
    _texts: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        folders = [name for name in FOLDERS if self._is_folder(name)]
        self.directory = folders[0] if folders else ""
        if len(folders) > 1:
            self.problem(
                "two_folders",
                Message("The repository has both a binder and a .binder folder. Keep only one."),
            )
        known = read_submodules(self.first_text(".gitmodules"))
        self.submodules = tuple(each.path for each in known if not self.fetches(each.url))

    # --- Findings ---

    def add(self, severity: Severity, code: str, message: Message, path: str = "") -> None:
        """Add a finding once, up to a limit of problems and of others."""
        finding = Finding(severity, code, message, path)
        problem = severity is Severity.PROBLEM
        alike = [one for one in self.findings if (one.severity is Severity.PROBLEM) is problem]
        if finding not in alike and len(alike) < MAX_FINDINGS:
            self.findings.append(finding)

    def note(self, code: str, message: Message, path: str = "") -> None:
        """Add information."""
        self.add(Severity.NOTE, code, message, path)

    def warn(self, code: str, message: Message, path: str = "") -> None:
        """Add a possible problem."""
        self.add(Severity.WARNING, code, message, path)

    def problem(self, code: str, message: Message, path: str = "") -> None:
        """Add a problem that makes a build fail."""
        self.add(Severity.PROBLEM, code, message, path)

    # --- Files ---

    def path_of(self, kind: str) -> str:
        """Return a file's path from the root."""
        return f"{self.directory}/{kind}" if self.directory else kind

    def has(self, kind: str) -> bool:
        """Say whether the file exists."""
        if kind in AT_ROOT_ONLY and self.directory:
            return False
        return self.is_file(self.path_of(kind))

    def text(self, kind: str) -> str | None:
        """Return a file's content; None if unreadable."""
        return self.read(self.path_of(kind)) if self.has(kind) else None

    def is_file(self, path: str) -> bool:
        """Accept a file, not a link out."""
        return self._real(path) is not None

    def in_submodule(self, path: str) -> bool:
        """Say whether a path is in a submodule, which is not fetched."""
        return any(path == one or path.startswith(f"{one}/") for one in self.submodules)

    def miss(self, path: str) -> None:
        """Remember a path that a line names and that is not here."""
        if (real := self._inside(path)) is not None and real != self.root:
            self._miss(real)

    def _miss(self, real: Path) -> None:
        path = real.relative_to(self.root).as_posix()
        few, short = len(self.missing) < _MAX_NAMED, len(os.fsencode(path)) <= _MAX_PATH_BYTES
        if few and short and path.isprintable():  # a pattern is a line
            self.missing.add(path)

    def first_text(self, path: str) -> str:
        """Return the beginning of a file that is no configuration."""
        return self.first_bytes(path).decode("utf-8", "replace")

    def first_bytes(self, path: str) -> bytes:
        """Return the beginning of a file."""
        real = self._real(path)
        try:
            with real.open("rb") if real else io.BytesIO() as file:
                return file.read(_FIRST_BYTES)
        except OSError:
            return b""

    def checksum(self, path: str) -> str:
        """Return the SHA-256 of a file's bytes, or "" if it can't be read."""
        real = self._real(path)
        if real is None:
            return ""
        try:
            with real.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""

    def read(self, path: str, *, max_bytes: int = MAX_BYTES) -> str | None:
        """Return decoded text, or None."""
        if path not in self._texts:
            self._texts[path] = self._read(path, max_bytes)
        return self._texts[path]

    def names(self) -> list[str]:
        """Return sorted file names."""
        try:
            with os.scandir(self.root / self.directory) as entries:
                return sorted(entry.name for entry in entries)
        except OSError:
            return []

    def _is_folder(self, name: str) -> bool:
        real = self._follow(name)
        return real is not None and real.is_dir()

    def _real(self, path: str) -> Path | None:
        real = self._follow(path)
        return real if real is not None and real.is_file() else None

    def _follow(self, path: str) -> Path | None:
        """Resolve links, and remember where one leads to nothing."""
        real = self._inside(path)
        if real is not None and real != self.root / path and not real.exists():
            self._miss(real)
        return real

    def _inside(self, path: str) -> Path | None:
        """Resolve a path in the checkout, outside .git."""
        try:
            real = (self.root / path).resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name with NUL
            real = Path("/")
        if real.is_relative_to(self.root) and ".git" not in real.relative_to(self.root).parts:
            return real
        self.warn(
            "leads_out",
            Message(
                "%(path)s is ignored because it is a link that leads out of the repository.",
                path=path,
            ),
            path,
        )
        return None

    def _read(self, path: str, max_bytes: int) -> str | None:
        real = self._real(path)
        if real is None:
            return None
        try:
            with real.open("rb") as file:
                data = file.read(max_bytes + 1)
        except OSError:
            self.warn("unreadable", Message("%(path)s can't be read.", path=path), path)
            return None
        if len(data) > max_bytes:
            self.problem(
                "too_large",
                Message(
                    "%(path)s is larger than %(most)s, the limit for configuration files.",
                    path=path,
                    most=format_bytes(max_bytes),
                ),
                path,
            )
            return None
        return self._decode(path, data)

    def _decode(self, path: str, data: bytes) -> str | None:
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = data.decode("utf-16" if wide else "utf-8-sig", "replace")
        if "\x00" in text:
            self.problem("not_text", Message("%(path)s is not a text file.", path=path), path)
            return None
        if wide or not _is_utf8(data):
            self.not_utf8.add(path)
            self.warn(
                "utf16" if wide else "not_utf8",
                Message("%(path)s is not UTF-8. Save it as UTF-8.", path=path),
                path,
            )
        return text


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
