"""Hooks: who may make them, and what a delivery is worth.

A delivery says only that something may have moved. `prebuilds` looks for itself, and builds.
`commit_statuses` uses the tokens that hooks may have.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from traitlets import Bool, Integer
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.environments.rights import require_can_build
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.errors import (
    InvalidInput,
    LimitReached,
    NotAllowed,
    NotFound,
    WrongSignature,
)
from jupyterhub_binder.model import Environment, User
from jupyterhub_binder.model.admin import Action
from jupyterhub_binder.model.prebuild import (
    CommitReport,
    Delivery,
    Hook,
    HookHost,
    Outcome,
    PrebuildCause,
)
from jupyterhub_binder.model.sharing import Right
from jupyterhub_binder.repositories.commit_statuses import origin_of
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.sealing import Sealer
from jupyterhub_binder.utils.signal import Signal
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import one_line
from jupyterhub_binder.utils.webhooks import Sender, SignatureCheck, event_of, new_secret

_ID_BYTES = 20
_MIN_SECRET_CHARACTERS = 16
MAX_SECRET_CHARACTERS = 200
MAX_TOKEN_CHARACTERS = 1000
_TOKEN = re.compile(r"[!-~]{8,}")
_MAX_EVENT_CHARACTERS = 40
_MINUTE_SECONDS = 60.0
_MOVES = frozenset({"push", "create", "delete", "release", "push hook", "tag push hook"})
"""Events after which a branch or a tag may be elsewhere, in small letters."""


@dataclass(frozen=True, slots=True)
class NewHook:
    """A hook with its secret, which nobody is told again."""

    hook: Hook
    secret: str


@dataclass(frozen=True, slots=True)
class HookToken:
    """A person's credential for one host. It is sent to that host, and shown to nobody."""

    token: str = field(repr=False)
    origin: str
    """The host that it is for: ``https://github.com``."""
    address: str
    """Of this service, as its owner saw it; what is told to the host leads there."""

    def to_text(self) -> str:
        """Return what is sealed: what a token is for can't be changed without the key."""
        return json.dumps(asdict(self))


def repository_of(environment: Environment) -> str:
    """Return the address of the repository that an environment is built from now."""
    latest = environment.latest
    return latest.build.repo_url if latest else environment.repo_url


class Hooks(LoggingConfigurable):
    """Keeps hooks, and judges what they receive."""

    max_per_environment = Integer(
        5, min=0, help="Maximum number of webhooks of one environment. 0 forbids them. Default: 5."
    ).tag(config=True)

    max_deliveries_per_minute = Integer(
        60,
        min=1,
        help="""
        Maximum number of deliveries that one webhook takes per minute. The others are answered
        with 429. No push is lost: if one of them had a valid signature, the service checks the
        repository afterwards. Default: 60.
        """,
    ).tag(config=True)

    statuses = Bool(
        True,
        help="""
        Whether owners may give a webhook a token of their own, with which the service sets the
        status of commits at the host: building, ready or failed. Tokens that are stored already are
        not used while this is off. Default: True.
        """,
    ).tag(config=True)

    def __init__(
        self,
        *,
        store: Store,
        environments: Environments,
        audit: Audit,
        sealer: Sealer,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._environments = environments
        self._audit = audit
        self._sealer = sealer
        self._stranger = new_secret()
        self._minute = 0.0
        self._received: Counter[str] = Counter()
        self.accepted: Signal[[str]] = Signal()
        """Sent with the id of an environment for which a look waits now."""
        self.token_set: Signal[[str]] = Signal()
        """Sent with the id of a hook that has another token."""

    # --- Keeping them -------------------------------------------------------------------------

    async def list(self, user: User, environment_id: str) -> tuple[Hook, ...]:
        """Return an environment's hooks, oldest first. For its owner and admins."""
        environment = await self._environments.get(user, environment_id, Right.OWN)
        return await self._store.list_hooks(environment.id)

    async def deliveries(self, user: User, environment_id: str) -> tuple[Delivery, ...]:
        """Return what an environment's hooks received, newest first."""
        environment = await self._environments.get(user, environment_id, Right.OWN)
        return await self._store.list_deliveries(environment.id)

    async def create(
        self, user: User, environment_id: str, host: HookHost, *, secret: str = ""
    ) -> NewHook:
        """Make a hook; with a `secret` of the host's, or one of ours. Raises LimitReached."""
        environment = await self._get(user, environment_id)
        secret = _clean_secret(secret) or new_secret()
        hook = Hook(
            id=secrets.token_hex(_ID_BYTES),
            environment_id=environment.id,
            host=host,
            sealed=self._sealer.seal(secret),
            created=utc_now(),
            created_by=user.name,
        )
        if not await self._store.insert_hook(hook, limit=self.max_per_environment):
            raise LimitReached(
                "An environment can have at most %(most)s webhooks. Remove one that you no longer need.",
                most=self.max_per_environment,
                detail={"limit": self.max_per_environment, "used": self.max_per_environment},
            )
        self._audit.note_environment(user, Action.HOOK_CREATE, environment, host=hook.host)
        return NewHook(hook, secret)

    async def replace_secret(
        self, user: User, environment_id: str, hook_id: str, *, secret: str = ""
    ) -> NewHook:
        """Give a hook another secret. The one before is worth nothing from then on."""
        environment = await self._get(user, environment_id)
        hook = await self._find(environment, hook_id)
        secret = _clean_secret(secret) or new_secret()
        sealed = self._sealer.seal(secret)
        await self._store.replace_hook_secret(hook.id, sealed)
        self._audit.note_environment(user, Action.HOOK_ROTATE, environment, host=hook.host)
        return NewHook(replace(hook, sealed=sealed), secret)

    async def delete(self, user: User, environment_id: str, hook_id: str) -> Hook:
        """Remove a hook. Its address then answers 404."""
        environment = await self._environments.get(user, environment_id, Right.OWN)
        hook = await self._find(environment, hook_id)
        await self._store.delete_hook(hook.id)
        self._audit.note_environment(user, Action.HOOK_DELETE, environment, host=hook.host)
        return hook

    # --- Their tokens -------------------------------------------------------------------------

    async def reports(self, user: User, environment_id: str) -> tuple[CommitReport, ...]:
        """Return what the hosts of an environment's hooks were told, newest first."""
        environment = await self._environments.get(user, environment_id, Right.OWN)
        return await self._store.list_reports(environment.id)

    async def set_token(
        self, user: User, environment_id: str, hook_id: str, token: str, *, address: str
    ) -> Hook:
        """Keep a token for commit statuses, in place of an earlier one.

        Raises NotAllowed, InvalidInput, and Conflict if the repository's host can't have statuses.
        """
        if not self.statuses:
            raise NotAllowed("This hub sets no commit statuses.")
        environment = await self._get(user, environment_id)
        hook = await self._find(environment, hook_id)
        kept = HookToken(_clean_token(token), origin_of(repository_of(environment)), address)
        await self._store.put_hook_token(hook.id, self._sealer.seal(kept.to_text()), utc_now())
        self._audit.note_environment(user, Action.HOOK_TOKEN_SET, environment, host=hook.host)
        self.token_set.send(hook.id)
        return hook

    async def remove_token(self, user: User, environment_id: str, hook_id: str) -> Hook:
        """Forget a token. Idempotent."""
        environment = await self._environments.get(user, environment_id, Right.OWN)
        hook = await self._find(environment, hook_id)
        await self._store.delete_hook_token(hook.id)
        self._audit.note_environment(user, Action.HOOK_TOKEN_REMOVE, environment, host=hook.host)
        return hook

    def open_token(self, hook: Hook) -> HookToken | None:
        """Return a hook's token; None if it has none, or if the key of the secrets is lost."""
        text = self._sealer.unseal(hook.token) if hook.token else None
        return HookToken(**json.loads(text)) if text else None

    async def _get(self, user: User, environment_id: str) -> Environment:
        require_can_build(user)
        return await self._environments.get(user, environment_id, Right.OWN)

    async def _find(self, environment: Environment, hook_id: str) -> Hook:
        hook = await self._store.fetch_hook(hook_id)
        if hook is None or hook.environment_id != environment.id:
            raise _no_such_hook()
        return hook

    # --- Receiving ----------------------------------------------------------------------------

    async def fetch(self, hook_id: str) -> Hook | None:
        """Return the hook of an address."""
        return await self._store.fetch_hook(hook_id)

    def check(self, hook: Hook | None, headers: Mapping[str, str]) -> SignatureCheck:
        """Begin to check a delivery. For an unknown hook, the same work leads to nothing."""
        if hook is None:
            return SignatureCheck(Sender.GITHUB, headers, self._stranger)
        secret = self._sealer.unseal(hook.sealed) or ""
        return SignatureCheck(Sender(hook.host), headers, secret)

    async def receive(
        self, hook: Hook | None, check: SignatureCheck, headers: Mapping[str, str]
    ) -> Outcome:
        """Judge a delivery whose body was read; what is accepted survives a restart.

        Raises NotFound, WrongSignature and LimitReached.
        """
        valid = check.is_valid()
        if hook is None:
            raise _no_such_hook()
        many = self._has_too_many(hook.id)
        if not valid:
            await self._refuse(hook, headers, many=many)
        if many:
            await self._store.want_prebuild(hook.environment_id, PrebuildCause.HOOK, utc_now())
            self.accepted.send(hook.environment_id)
            raise _too_many()
        delivery = _delivery(hook, headers, judge(Sender(hook.host), headers))
        outcome = await self._store.note_delivery(hook, delivery, check.delivery_id)
        if outcome is None:  # it was removed while the body came
            raise _no_such_hook()
        if outcome is Outcome.ACCEPTED:
            self.accepted.send(hook.environment_id)
        return outcome

    async def _refuse(self, hook: Hook, headers: Mapping[str, str], *, many: bool) -> None:
        if many:
            raise _too_many()
        await self._store.note_delivery(hook, _delivery(hook, headers, Outcome.REFUSED), "")
        raise WrongSignature(
            "The signature is wrong. Check that the host has the secret that this service showed "
            "when the webhook was created."
        )

    def _has_too_many(self, hook_id: str) -> bool:
        """Count a delivery in this minute."""
        now = time.monotonic()
        if now >= self._minute + _MINUTE_SECONDS:
            self._minute = now
            self._received.clear()
        self._received[hook_id] += 1
        return self._received[hook_id] > self.max_deliveries_per_minute


def judge(sender: Sender, headers: Mapping[str, str]) -> Outcome:
    """Say what an event is about: a host's trial, a push, or nothing of ours."""
    event = event_of(sender, headers).lower()
    if event == "ping":
        return Outcome.PING
    return Outcome.ACCEPTED if event in _MOVES else Outcome.IGNORED


def _delivery(hook: Hook, headers: Mapping[str, str], outcome: Outcome) -> Delivery:
    event = one_line(event_of(Sender(hook.host), headers))[:_MAX_EVENT_CHARACTERS]
    return Delivery(hook.id, utc_now(), event, outcome)


def _clean_secret(secret: str) -> str:
    if secret and not _MIN_SECRET_CHARACTERS <= len(secret) <= MAX_SECRET_CHARACTERS:
        raise InvalidInput(
            "A secret must have %(least)s to %(most)s characters.",
            least=_MIN_SECRET_CHARACTERS,
            most=MAX_SECRET_CHARACTERS,
            detail={"field": "secret"},
        )
    return secret


def _clean_token(token: str) -> str:
    token = token.strip()
    if len(token) > MAX_TOKEN_CHARACTERS or not _TOKEN.fullmatch(token):
        raise InvalidInput(
            "That is not a token. Copy it from the host again.", detail={"field": "token"}
        )
    return token


def _no_such_hook() -> NotFound:
    return NotFound("There is no such webhook. It may have been removed.")


def _too_many() -> LimitReached:
    return LimitReached(
        "This webhook receives too many deliveries. The repository is checked anyway.",
        detail={"retry_after_seconds": _MINUTE_SECONDS},
    )
