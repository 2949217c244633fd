"""The installed backends, found by their entry points.

A site can add its own. A backend is imported only when it is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.errors import ConfigurationError

GROUP = "jupyterhub_binder.backends"
"""The entry point group of backends."""


def backend_class(name: str, option: str = "JupyterHubBinder.backend") -> type[BuildBackend]:
    """Return the class of a backend that an option names. Raises ConfigurationError."""
    points = _points()
    if name not in points:
        raise ConfigurationError(f"{option} is {name!r}; there are {', '.join(points)}.")
    try:
        return points[name].load()
    except ImportError as error:
        raise ConfigurationError(f"{option}: {name} can't be loaded: {error}") from error


def loadable_backends() -> Iterator[type[BuildBackend]]:
    """Yield the backends that can be imported."""
    for point in _points().values():
        with contextlib.suppress(ImportError):
            yield point.load()


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
