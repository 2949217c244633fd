"""Which backends are installed.

They are entry points, so that a site can add its own; none is imported before somebody asks for
it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.errors import ConfigurationError

GROUP = "jupyterhub_binder.backends"
"""The group of entry points by which a site adds a backend of its own."""


def backend_class(name: str) -> type[BuildBackend]:
    """Return the backend of a name. Raises ConfigurationError, which says what to do."""
    points = _points()
    if name not in points:
        raise ConfigurationError(
            f"JupyterHubBinder.backend is {name!r}; there are {', '.join(points)}."
        )
    try:
        return points[name].load()
    except ImportError as error:
        raise ConfigurationError(
            f"JupyterHubBinder.backend: {name} cannot be loaded: {error}"
        ) from error


def loadable_backends() -> Iterator[type[BuildBackend]]:
    """Yield the backends whose options can be shown; another's trouble is not everybody's."""
    for point in _points().values():
        with contextlib.suppress(ImportError):
            yield point.load()


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
