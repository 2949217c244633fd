"""Finds the image of an earlier build with the same recipe.

A backend says whether a recipe's files decide an image alone. `run` uses what is found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from jupyterhub_binder.backends.base import BACKEND_OPTION, BuildBackend, Reuse
from jupyterhub_binder.model import Build, Recipe, Resolved
from jupyterhub_binder.repositories.recipe.digest import recipe_digest
from jupyterhub_binder.store import Store


@dataclass(frozen=True, slots=True)
class Found:
    """What is known about earlier images of a recipe."""

    build: Build | None = None
    """The build whose image to use."""
    too_old: Build | None = None
    """One whose image has packages that are too old."""


def digest_of(backend: BuildBackend, build: Build, recipe: Recipe) -> tuple[str | None, Reuse]:
    """Return the recipe digest, or None if the image depends on more than the recipe. Pure.

    `backend` makes the image; whether a person or the service chose it does not matter.
    """
    reuse = backend.reuse(recipe, build.options)
    if not reuse.self_contained:
        return None, reuse
    options = {name: value for name, value in build.options.items() if name != BACKEND_OPTION}
    digest = recipe_digest(recipe, options=options, fingerprint=backend.fingerprint())
    return digest, reuse


async def find_reusable(
    store: Store,
    backend: BuildBackend,
    digest: str,
    *,
    clone_url: str,
    serves: Callable[[Resolved], Awaitable[bool]],
    open_versions: bool,
    max_days: float,
    now: datetime,
) -> Found:
    """Return the newest image of a recipe, unless its packages should be chosen again.

    The files of its first repository lie by an image. It is used for another `clone_url` only
    while their host `serves` them to everybody.
    """
    served: dict[str, bool] = {clone_url: True}
    oldest = now - timedelta(days=max_days)
    for build in await store.list_reusable(digest, backend=backend.name):
        if build.packages_from is None or await backend.find_image(build.image_key) is None:
            continue
        if open_versions and build.packages_from < oldest:
            return Found(too_old=build)
        if build.clone_url not in served:
            served[build.clone_url] = await serves(build.resolved)
        if served[build.clone_url]:
            return Found(build)
    return Found()
