"""Says whether a Python version is what a repository asks for. Pure."""

from __future__ import annotations

import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet

_LONGEST = 100


def serves_python(minor: str, asked: str) -> bool:
    """Say whether Python ``3.11`` serves ``3.11.4``, ``3``, ``>=3.10,<3.12`` or no request."""
    asked = asked.strip()
    specifier = _specifier(asked) if len(asked) <= _LONGEST else None
    # A range such as `>=3.10.4` is about patch releases, which `minor` does not name.
    return not asked or (specifier is not None and specifier.contains(f"{minor}.99"))


def _specifier(asked: str) -> SpecifierSet | None:
    exact = re.fullmatch(r"=*\s*(\d+)(?:\.(\d+|\*))?(?:\.[\d*]+)*", asked)
    if exact:
        major, minor = exact.groups()
        asked = f"=={major}.{minor}.*" if minor and minor != "*" else f"=={major}.*"
    try:
        return SpecifierSet(asked)
    except InvalidSpecifier:
        return None
