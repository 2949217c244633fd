"""The recipe digest: what two builds share if they make the same image. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from jupyterhub_binder.model import Recipe


def recipe_digest(recipe: Recipe, *, options: Mapping[str, Any], fingerprint: str) -> str:
    """Return the digest of what decides the image: 40 hex digits.

    It covers the bytes of the files that `read_recipe` takes into account, and nothing else of the
    repository. It is meaningful only for images that hold nothing else of it.
    """
    parts = [
        recipe.buildpack,
        recipe.directory,
        [[each.path, each.kind, each.checksum] for each in recipe.inputs],
        dict(options),
        fingerprint,
    ]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def changed_inputs(before: Recipe, after: Recipe) -> tuple[str, ...]:
    """Return the paths of recipe files that differ."""
    old = {each.path: each.checksum for each in before.inputs}
    new = {each.path: each.checksum for each in after.inputs}
    paths = sorted(old.keys() | new.keys())
    return tuple(path for path in paths if old.get(path) != new.get(path))
