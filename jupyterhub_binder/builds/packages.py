"""Packages of images: bounded, in order, and what differs between two of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from packaging.utils import canonicalize_name

from jupyterhub_binder.model.inventory import Difference, Inventory, Package, PackageChange

MAX_PACKAGES = 5_000
MAX_LOCK_CHARACTERS = 2**20
_MAX_TOOLS = 20
_MAX_CHARACTERS = 200

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!~-]{0,99}")


def clean(inventory: Inventory) -> Inventory:
    """Return what may be stored of an inventory: an image's code may have written it."""
    return replace(
        inventory,
        packages=distinct(inventory.packages),
        lock=inventory.lock if len(inventory.lock) <= MAX_LOCK_CHARACTERS else "",
        tools={
            name[:_MAX_CHARACTERS]: version[:_MAX_CHARACTERS]
            for name, version in list(inventory.tools.items())[:_MAX_TOOLS]
        },
        digest=inventory.digest[:_MAX_CHARACTERS],
    )


def distinct(packages: Iterable[Package]) -> tuple[Package, ...]:
    """Return one package a name, in order, without what is no package's name or version.

    conda's Python packages are known to pip, too; they count as conda's, unless pip has put
    another version in their place.
    """
    found: dict[str, Package] = {}
    for each in packages:
        if not (_NAME.fullmatch(each.name) and _VERSION.fullmatch(each.version)):
            continue
        name = canonicalize_name(each.name)
        known = found.get(name)
        if known is None or _wins(each, known):
            found[name] = each
        if len(found) >= MAX_PACKAGES:
            break
    return tuple(found[name] for name in sorted(found))


def _wins(each: Package, known: Package) -> bool:
    if each.source == known.source:
        return False
    pip, conda = (each, known) if each.source == "pip" else (known, each)
    return each is (conda if pip.version == conda.version else pip)


def compare(before: Iterable[Package], after: Iterable[Package]) -> Difference:
    """Return what differs. ``Foo.Bar`` and ``foo-bar`` are one package."""
    old, new = _by_name(before), _by_name(after)
    return Difference(
        added=tuple(new[name] for name in sorted(new.keys() - old.keys())),
        removed=tuple(old[name] for name in sorted(old.keys() - new.keys())),
        changed=tuple(
            PackageChange(new[name].name, new[name].source, old[name].version, new[name].version)
            for name in sorted(new.keys() & old.keys())
            if old[name].version != new[name].version
        ),
    )


def _by_name(packages: Iterable[Package]) -> Mapping[str, Package]:
    return {canonicalize_name(each.name): each for each in packages}
