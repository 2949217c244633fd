"""Makes an environment from a receipt: what it takes, and what will differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.environments.receipts import Receipts, verify
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.model import Build, Environment, Link, Spec, User, repository_key
from jupyterhub_binder.model.receipt import SignedReceipt
from jupyterhub_binder.model.text import Message, all_of
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.urls import SHA
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.names import content_key
from jupyterhub_binder.utils.signing import PublicKey
from jupyterhub_binder.utils.validation import MAX_ADDRESS_CHARACTERS, MAX_REF_CHARACTERS

_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What this hub would make of a receipt."""

    spec: Spec
    """The repository at the receipt's commit."""
    options: Mapping[str, Any]
    own: bool
    """Whether this hub signed it."""
    key_id: str
    exact: bool
    """Whether it has the same packages in the same versions."""
    notes: tuple[Message, ...]
    """What is used, and what may differ."""


class Reproductions:
    """Makes environments from receipts."""

    def __init__(
        self,
        *,
        store: Store,
        providers: Providers,
        environments: Environments,
        receipts: Receipts,
        backend: BuildBackend,
    ) -> None:
        self._store = store
        self._providers = providers
        self._environments = environments
        self._receipts = receipts
        self._backend = backend

    async def plan(self, signed: SignedReceipt) -> Reproduction:
        """Say what would be made. Raises InvalidInput for a receipt that is not valid."""
        key = PublicKey.from_text(signed.public_key)
        if not verify(signed, key):
            raise InvalidInput(
                "This receipt is not valid: it was changed after it was signed. Get the original "
                "file again."
            )
        receipt = signed.receipt
        spec = self._read_spec(_claimed(receipt))
        options, exact, notes = await self._choose(receipt)
        return Reproduction(
            spec=spec,
            options=options,
            own=key == self._receipts.public_key,
            key_id=key.id,
            exact=exact,
            notes=notes,
        )

    def _read_spec(self, claimed: Spec) -> Spec:
        """Return the spec that a pasted link would give. Raises InvalidInput.

        A record's version becomes part of its name.
        """
        provider = self._providers[claimed.provider]
        spec = provider.parse_spec(provider.format_spec(claimed))
        if not provider.takes_ref:
            return spec
        if repository_key(spec) != repository_key(claimed) or not SHA.fullmatch(spec.ref):
            raise _names_nothing()
        return spec

    async def _choose(
        self, receipt: Mapping[str, Any]
    ) -> tuple[dict[str, Any], bool, tuple[Message, ...]]:
        """Return the options of the build, whether it is exact, and why."""
        given = receipt.get("options")
        options = {**given} if isinstance(given, Mapping) else {}
        options.pop(_LOCK, None)
        if await self._has_it(receipt, options):
            own = Message("This hub still has the image that the receipt describes. It is used.")
            return self._backend.clean_options(options), True, (own,)
        lock, python = receipt.get("lock"), _python(receipt)
        takes_lock = any(maker.takes_lock for maker in self._backend.makers)
        if not (takes_lock and isinstance(lock, str) and lock and python):
            return self._backend.clean_options(options), False, self._why_not_exact(receipt)
        commit = _text(_part(receipt, "repository"), "commit", MAX_REF_CHARACTERS)
        minor = ".".join(python.split(".")[:2])
        options[_LOCK] = {"commit": commit, "python": minor, "requirements": lock}
        notes = (
            Message("The packages are installed in the versions of the receipt."),
            Message(
                "It was made with Python %(python)s; this hub uses its own Python %(minor)s.",
                python=python,
                minor=minor,
            ),
        )
        return self._backend.clean_options(options), True, notes

    async def _has_it(self, receipt: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
        """Say whether a request for the same content would get exactly what the receipt says."""
        key = receipt.get("content_key")
        build = await self._store.find_built(key) if isinstance(key, str) and key else None
        if build is None or not self._would_reuse(build, _claimed(receipt), options):
            return False
        if await self._backend.maker(build.backend).find_image(build.image_key) is None:
            return False
        inventory = await self._store.fetch_inventory(build.id)
        if inventory is None:
            return False
        digest, lock = _part(receipt, "image").get("digest"), receipt.get("lock")
        return inventory.digest == digest if digest else bool(lock) and inventory.lock == lock

    def _would_reuse(self, build: Build, spec: Spec, options: Mapping[str, Any]) -> bool:
        """Say whether a request is for this build: the receipt's key is only a claim."""
        same = repository_key(build.spec) == repository_key(spec) and build.resolved_ref == spec.ref
        return same and build.base_key == content_key(
            clone_url=build.clone_url,
            resolved_ref=build.resolved_ref,
            options=options,
            fingerprint=self._backend.fingerprint(),
        )

    def _why_not_exact(self, receipt: Mapping[str, Any]) -> tuple[Message, ...]:
        notes = []
        backend = receipt.get("backend")
        ours = [maker.name for maker in self._backend.makers]
        if isinstance(backend, str) and backend not in ours:
            notes.append(
                Message(
                    "It was built with %(theirs)s; this hub builds with %(ours)s.",
                    theirs=backend[:40],
                    ours=all_of(ours),
                )
            )
        notes.append(
            Message(
                "The same commit is built again. Packages whose versions the repository leaves "
                "open can be newer than in the receipt; compare them when the build has ended."
            )
        )
        return tuple(notes)

    async def create(
        self, user: User, signed: SignedReceipt, *, name: str | None = None
    ) -> Environment:
        """Make an environment from a receipt, and build it. Raises as `Environments.create`."""
        planned = await self.plan(signed)
        return await self._environments.create(
            user, link=Link(planned.spec), name=name, options=planned.options
        )


def _claimed(receipt: Mapping[str, Any]) -> Spec:
    """Return the repository and commit that the receipt names, unchecked. Raises InvalidInput."""
    repository = _part(receipt, "repository")
    if repository.get("repo") is None:
        raise InvalidInput(
            "The repository of this receipt is a folder on its hub's machine, so it can't be "
            "fetched here."
        )
    provider = _text(repository, "provider", 20)
    repo = _text(repository, "repo", MAX_ADDRESS_CHARACTERS)
    return Spec(provider, repo, _text(repository, "commit", MAX_REF_CHARACTERS))


def _python(receipt: Mapping[str, Any]) -> str:
    python = _part(receipt, "tools").get("python")
    return python[:20] if isinstance(python, str) else ""


def _part(receipt: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = receipt.get(name)
    return part if isinstance(part, Mapping) else {}


def _text(part: Mapping[str, Any], name: str, most: int) -> str:
    text = part.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= most or not text.isprintable():
        raise _names_nothing()
    return text


def _names_nothing() -> InvalidInput:
    return InvalidInput("The receipt does not name its repository and commit.")
