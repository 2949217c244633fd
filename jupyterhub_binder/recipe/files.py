"""Finds and reads the configuration files of a checkout; never a byte from outside of it.

Owns safety: links, sizes, encodings. What the files say is for `packages` and `packs`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath

from jupyterhub_binder.model import Finding, Severity
from jupyterhub_binder.units import format_bytes

MOST_BYTES = 2**20
"""A configuration file larger than this is not read."""

MOST_FINDINGS = 40

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
    "Pipfile",
    "Pipfile.lock",
    "requirements.txt",
    "setup.py",
    "pyproject.toml",
    "apt.txt",
    "postBuild",
    "start",
)
"""The base names that mean something, in the order in which people are shown them."""

AT_ROOT_ONLY = frozenset({"setup.py", "pyproject.toml", "DESCRIPTION"})
"""Those that count at the root alone, and only where no folder holds the configuration."""


@dataclass
class Checkout:
    """One checkout while it is read: its folder of configuration, and what was found."""

    root: Path
    directory: str = ""
    findings: list[Finding] = field(default_factory=list)
    _texts: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        folders = [name for name in ("binder", ".binder") if self._is_folder(name)]
        self.directory = folders[0] if folders else ""
        if len(folders) > 1:
            self.problem(
                "two_folders",
                "There is a folder binder and a folder .binder: only one may hold the configuration.",
            )

    # --- Findings ---

    def add(self, severity: Severity, code: str, message: str, path: str = "") -> None:
        """Note a finding, once; very many are cut off."""
        finding = Finding(severity, code, message, path)
        if finding not in self.findings and len(self.findings) < MOST_FINDINGS:
            self.findings.append(finding)

    def note(self, code: str, message: str, path: str = "") -> None:
        """Note what a person may want to know."""
        self.add(Severity.NOTE, code, message, path)

    def warn(self, code: str, message: str, path: str = "") -> None:
        """Note what may go wrong."""
        self.add(Severity.WARNING, code, message, path)

    def problem(self, code: str, message: str, path: str = "") -> None:
        """Note what makes a build fail."""
        self.add(Severity.PROBLEM, code, message, path)

    # --- Files ---

    def path_of(self, kind: str) -> str:
        """Return where the file of a kind would be, relative to the root."""
        return f"{self.directory}/{kind}" if self.directory else kind

    def has(self, kind: str) -> bool:
        """Say whether the file of a kind is there, where it counts."""
        if kind in AT_ROOT_ONLY and self.directory:
            return False
        return self.is_file(self.path_of(kind))

    def text(self, kind: str) -> str | None:
        """Return the content of the file of a kind, None without one that can be read."""
        return self.read(self.path_of(kind)) if self.has(kind) else None

    def is_file(self, path: str) -> bool:
        """Say whether a path is a file of the checkout; a link out of it is not."""
        return self._real(path) is not None

    def read(self, path: str) -> str | None:
        """Return a file's text, decoded with replacement; None if there is none to read."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def names(self) -> list[str]:
        """Return the names in the folder that holds the configuration, sorted, not all of many."""
        try:
            with os.scandir(self.root / self.directory) as entries:
                return sorted(entry.name for entry in islice(entries, 5000))
        except OSError:
            return []

    def _is_folder(self, name: str) -> bool:
        real = self._inside(name)
        return real is not None and real.is_dir()

    def _real(self, path: str) -> Path | None:
        real = self._inside(path)
        return real if real is not None and real.is_file() else None

    def _inside(self, path: str) -> Path | None:
        """Return where a path ends, if that is inside of the checkout and not of its .git."""
        try:
            real = (self.root / path).resolve()
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name with NUL
            real = Path("/")
        if real.is_relative_to(self.root) and ".git" not in real.relative_to(self.root).parts:
            return real
        self.warn("leads_out", f"{path} leads to nothing of the repository: it is ignored.", path)
        return None

    def _read(self, path: str) -> str | None:
        real = self._real(path)
        if real is None:
            return None
        try:
            with real.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except OSError:
            self.warn("unreadable", f"{path} cannot be read.", path)
            return None
        if len(data) > MOST_BYTES:
            self.problem(
                "too_large",
                f"{path} is larger than {format_bytes(MOST_BYTES)}: that is no configuration.",
                path,
            )
            return None
        return self._decode(path, data)

    def _decode(self, path: str, data: bytes) -> str | None:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            self.warn("encoding", f"{path} is written in UTF-16: save it as UTF-8.", path)
            return data.decode("utf-16", "replace")
        if b"\x00" in data:
            self.problem("not_text", f"{path} is no text.", path)
            return None
        return data.decode("utf-8-sig", "replace")


def beside(path: str, other: str) -> str:
    """Return a path that a file names, relative to that file's folder, ``..`` worked out."""
    return os.path.normpath(PurePosixPath(path).parent / other)
