"""Refuses options that no class has, which traitlets drops or only logs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from traitlets.config import Config, Configurable

from jupyterhub_binder.errors import ConfigurationError


def refuse_unknown_options(config: Config, classes: Iterable[type[Configurable]]) -> None:
    """Raise ConfigurationError with all unknown names, each with the nearest right one."""
    known = {
        base.__name__: base.class_trait_names(config=True)
        for cls in classes
        for base in cls.__mro__
        if issubclass(base, Configurable)
    }
    if problems := list(_problems(config, known)):
        raise ConfigurationError(" ".join(problems))


def _problems(config: Mapping[str, Any], known: Mapping[str, list[str]]) -> Iterator[str]:
    for section, values in config.items():
        if section not in known:
            if values:
                yield f"There is no class {section!r} with options.{_nearest(section, known)}"
            continue
        for name, value in values.items():
            if isinstance(value, Config):  # a class in a class
                yield from _problems({name: value}, known)
            elif name not in known[section]:
                nearest = _nearest(name, known[section], f"{section}.")
                yield f"{section} has no option {name!r}.{nearest}"


def _nearest(name: str, names: Collection[str], prefix: str = "") -> str:
    by_lower = {each.lower(): each for each in names}
    found = get_close_matches(name.lower(), by_lower, n=1)
    return f" Did you mean {prefix}{by_lower[found[0]]}?" if found else ""
