"""Security advisories that were known when this version was released."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files

from packaging.version import InvalidVersion, Version

_FILE = "advisories.toml"
_CHART = re.compile(r"^(\d+(?:\.\d+)*)-n(\d+)")
"""A BinderHub chart's version, ``0.2.0-n653``: 653 commits after 0.2.0."""
_RELEASE = re.compile(r"^(\d+(?:\.\d+)*)-")
"""Of a BinderHub's ``1.0.0-0.dev.git.3506``."""


@dataclass(frozen=True, slots=True)
class Advisory:
    """One published advisory."""

    package: str
    ids: tuple[str, ...]
    """The CVE's first, if it has one."""
    severity: str
    """As GitHub says it: low, moderate, high, critical."""
    summary: str
    introduced: str
    """The first affected version; empty if all earlier versions are."""
    fixed: str

    @property
    def url(self) -> str:
        """Its page at GitHub."""
        ghsa = next(each for each in self.ids if each.startswith("GHSA-"))
        return f"https://github.com/advisories/{ghsa}"

    def affects(self, version: str) -> bool:
        """Say whether a version has the hole; False for a version that can't be compared."""
        found, fixed = read_version(version), read_version(self.fixed)
        if found is None or fixed is None:
            return False
        first = read_version(self.introduced) if self.introduced else None
        return found < fixed and (first is None or found >= first)


@cache
def known_advisories() -> tuple[Advisory, ...]:
    """Return the package's list."""
    return tuple(
        Advisory(
            package=each["package"],
            ids=tuple(each["ids"]),
            severity=each["severity"],
            summary=each["summary"],
            introduced=each.get("introduced", ""),
            fixed=each["fixed"],
        )
        for each in _read()["advisory"]
    )


def checked_on() -> date:
    """Return the day on which the list was made."""
    return _read()["checked"]


@cache
def _read() -> dict:
    text = files("jupyterhub_binder.maintenance").joinpath(_FILE).read_text("utf-8")
    return tomllib.loads(text)


def read_version(text: str) -> Version | None:
    """Read a version of a package or a BinderHub; None for anything else."""
    text = _RELEASE.sub(r"\1+", _CHART.sub(r"\1.post\2+", text)) if "-" in text else text
    try:
        return Version(text.partition("+")[0])
    except InvalidVersion:
        return None


def advisories_of(package: str, version: str) -> tuple[Advisory, ...]:
    """Return the known advisories that affect a version."""
    return tuple(
        each for each in known_advisories() if each.package == package and each.affects(version)
    )
