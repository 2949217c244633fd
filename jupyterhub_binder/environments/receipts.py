"""Receipts of builds: what is in them, and whether one is right.

A receipt names no person and nothing of this hub's own network. The same build always has the
same receipt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyterhub_binder.environments.inventories import Contents, Inventories
from jupyterhub_binder.errors import Conflict, InvalidInput
from jupyterhub_binder.model import Build, BuildState, User
from jupyterhub_binder.model.receipt import VERSION, SignedReceipt
from jupyterhub_binder.utils.signing import PublicKey, SigningKey
from jupyterhub_binder.utils.time import isoformat


class Receipts:
    """Gives receipts. Every method checks the person's permissions."""

    def __init__(self, *, inventories: Inventories, key: SigningKey, hub_url: str) -> None:
        self._inventories = inventories
        self._key = key
        self._hub_url = hub_url

    @property
    def public_key(self) -> PublicKey:
        """The key that this service signs with."""
        return self._key.public

    async def fetch(self, user: User, build_id: str) -> SignedReceipt:
        """Return the receipt of a build. Raises NotFound, and Conflict if it has not succeeded."""
        contents = await self._inventories.fetch(user, build_id)
        if contents.build.state is not BuildState.BUILT:
            raise Conflict("Only a successful build has a receipt.", code="not_built")
        receipt = write_receipt(contents, hub_url=self._hub_url)
        return SignedReceipt(receipt, self._key.public.text, self._key.sign(receipt))


def write_receipt(contents: Contents, *, hub_url: str) -> dict[str, Any]:
    """Return what a build was made of. Pure."""
    build, inventory = contents.build, contents.inventory
    return {
        "version": VERSION,
        "build": build.id,
        "built": isoformat(build.finished) if build.finished else None,
        "packages_from": isoformat(build.packages_from) if build.packages_from else None,
        "hub": hub_url or None,
        "repository": _repository(build),
        "recipe_digest": build.recipe_digest,
        "content_key": build.base_key,
        "backend": build.backend,
        "options": {name: each for name, each in build.options.items() if name != "lock"},
        "image": {
            "kind": "venv" if build.backend == "venv" else "container",
            "digest": (inventory.digest if inventory else "") or None,
        },
        "lock": (inventory.lock if inventory else "") or None,
        "packages": [[p.name, p.version, p.source] for p in inventory.packages]
        if inventory
        else None,
        "tools": dict(inventory.tools) if inventory else {},
    }


def _repository(build: Build) -> dict[str, Any]:
    """Return where the repository is; nothing of a path on this machine."""
    is_web = build.clone_url.startswith(("https://", "http://"))
    return {
        "provider": build.spec.provider,
        "repo": build.spec.repo if is_web else None,
        "url": build.clone_url if is_web else None,
        "ref": build.spec.ref,
        "commit": build.resolved_ref,
    }


def read_file(value: Any) -> SignedReceipt:
    """Read a receipt's file, unverified. Raises InvalidInput."""
    if not isinstance(value, Mapping):
        raise _not_a_receipt()
    receipt, key, signature = (value.get(name) for name in ("receipt", "key", "signature"))
    public = key.get("public_key") if isinstance(key, Mapping) else None
    texts = isinstance(signature, str) and isinstance(public, str)
    if not isinstance(receipt, Mapping) or not texts or not isinstance(receipt.get("version"), int):
        raise _not_a_receipt()
    assert isinstance(public, str)
    assert isinstance(signature, str)
    if receipt["version"] > VERSION:
        raise InvalidInput("This receipt comes from a newer version of jupyterhub-binder.")
    return SignedReceipt(receipt, PublicKey.from_text(public).text, signature)


def verify(signed: SignedReceipt, key: PublicKey | None = None) -> bool:
    """Say whether a key has signed a receipt; by default the one that its file names. Pure."""
    key = key or PublicKey.from_text(signed.public_key)
    return key.verify(dict(signed.receipt), signed.signature)


def _not_a_receipt() -> InvalidInput:
    return InvalidInput(
        "This is not a receipt of an environment. Download one from a build's page."
    )
