"""Which repositories may be built and launched, and who is banned.

Rules of the configuration are fixed; administrators change the others.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from traitlets import Dict, List, Unicode
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.errors import (
    ConfigurationError,
    InvalidInput,
    NotAllowed,
    NotFound,
    NotUnderstood,
)
from jupyterhub_binder.model import Build, Environment, Resolved, Spec, User
from jupyterhub_binder.model.admin import Action, Rule, RuleKind
from jupyterhub_binder.model.featured import HUB_OWNER
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.identity import (
    BANNED,
    NOT_ON_LIST,
    Hosts,
    as_url,
    canonical,
    canonical_pattern,
    means,
    without_owner,
)
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.utils.validation import MAX_PERSON_CHARACTERS, one_line

MAX_PATTERN_CHARACTERS = 500
MAX_REASON_CHARACTERS = 500

PERSON_BANNED = "person_banned"
"""Error code for everything that a banned person builds or launches."""

_MAX_STARS = 8
_HOST_AND_PORT = re.compile(r"[^/@:]+:\d+/")
"""As in a pattern; in a pasted link it would be ssh's way to write a path."""

# --- Rules over names ---------------------------------------------------------------------------


def clean_pattern(text: str, hosts: Hosts) -> str:
    """Clean a pattern. Raises InvalidInput."""
    typed = one_line(text)
    head, slash, _ = typed.partition("/")
    bare = head and slash and not re.search(r"[.*:%]", head) and head.lower() not in hosts
    if bare and "gh" in hosts:
        typed = f"gh/{typed}"
    url = as_url(re.sub(r"\*+", "*", typed), hosts)
    pattern = canonical_pattern(url) if "*" in url else canonical(url)
    too_much = len(pattern) > MAX_PATTERN_CHARACTERS or pattern.count("*") > _MAX_STARS
    if not pattern.strip("/") or too_much or " " in pattern.partition("/")[0]:
        raise InvalidInput(
            "Give a repository, such as github.com/owner/name, or github.com/owner/* for all "
            "repositories of owner.",
            detail={"field": "pattern"},
        )
    return pattern if "*" in pattern else without_owner(pattern, hosts)


def means_other_host(pattern: str, hosts: Hosts) -> bool:
    """Say whether a clean pattern means all of a host that is no provider's, as one word does."""
    return not re.search(r"[/*?]", pattern) and pattern not in {*hosts, *hosts.values()}


def clean_person(text: str) -> str:
    """Return a user's name. Raises InvalidInput."""
    name = one_line(text)
    if not name or name == HUB_OWNER or len(name) > MAX_PERSON_CHARACTERS:
        raise InvalidInput("Name the person.", detail={"field": "pattern"})
    return name


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a repository or a person is refused."""

    code: str
    message: Message
    pattern: str = ""
    """The ban's; empty if no rule allows the repository."""


class RuleBook:
    """Immutable rules."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        bans = [rule for rule in self.rules if rule.kind is RuleKind.BAN]
        self._exact = {rule.pattern: rule for rule in reversed(bans) if "*" not in rule.pattern}
        self._wide = [rule for rule in bans if "*" in rule.pattern]
        self._allowed = [rule for rule in self.rules if rule.kind is RuleKind.ALLOW]
        self._people = {
            rule.pattern: rule for rule in self.rules if rule.kind is RuleKind.BAN_PERSON
        }

    def judge(self, names: Collection[str], person: str = "") -> Refusal | None:
        """Return a reason to refuse, or None. A ban wins, that of a person first."""
        if ban := self.find_ban(names, person):
            return ban
        if self._allowed and not any(means(rule.pattern, names) for rule in self._allowed):
            return Refusal(
                NOT_ON_LIST,
                Message(
                    "This hub does not allow %(name)s. Ask an administrator to allow it.",
                    name=_shown(names),
                ),
            )
        return None

    def find_ban(self, names: Collection[str], person: str = "") -> Refusal | None:
        """Return the ban of a person or a repository, if there is one. `names` may be empty."""
        if banned := self._people.get(person):
            return Refusal(PERSON_BANNED, person_words(banned), banned.pattern)
        if ban := self._match_ban(names):
            return Refusal(BANNED, ban_words(ban, names), ban.pattern)
        return None

    def _match_ban(self, names: Collection[str]) -> Rule | None:
        places = (place for name in names for place in _places(name))
        exact = next((self._exact[place] for place in places if place in self._exact), None)
        return exact or next((r for r in self._wide if means(r.pattern, names)), None)


def _places(name: str) -> Iterable[str]:
    """Yield the name, its group's, up to the host."""
    return accumulate(name.split("/"), "{}/{}".format)


def ban_words(ban: Rule, names: Collection[str]) -> Message:
    """Return the message for a banned repository."""
    name = _shown(names)
    if not (ban.reason and ban.shows_reason):
        return Message("%(name)s is banned on this hub.", name=name)
    why = ban.reason.rstrip(".")
    return Message("%(name)s is banned on this hub: %(why)s.", name=name, why=why)


def person_words(ban: Rule) -> Message:
    """Return the message for a banned person."""
    if not (ban.reason and ban.shows_reason):
        return Message(
            "The account %(name)s is banned from building and launching on this hub. Ask an "
            "administrator.",
            name=ban.pattern,
        )
    return Message(
        "The account %(name)s is banned from building and launching on this hub: %(why)s.",
        name=ban.pattern,
        why=ban.reason.rstrip("."),
    )


def _shown(names: Collection[str]) -> str:
    return max(names, key=lambda name: (len(name), name))


class Rules(LoggingConfigurable):
    """Rules for the repositories that may be built and launched, and for people."""

    banned = Dict(
        Unicode(),
        help="""
        Repositories that nobody may build or launch, each with a reason that is shown to people.

        Write a repository as ``github.com/owner/name`` or in any form that people can paste. ``*``
        matches any text: ``{"github.com/owner/*": "Too large for this hub"}``. Administrators can
        add more while the service runs. Default: none.
        """,
    ).tag(config=True)

    allowed = List(
        Unicode(),
        help="""
        The only repositories that may be built and launched, written as in `banned`.

        Default: empty, which allows every repository that is not banned. Example:
        ``["github.com/our-university/*"]``.
        """,
    ).tag(config=True)

    def __init__(self, *, store: Store, audit: Audit, providers: Providers, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._store = store
        self._audit = audit
        self._providers = providers
        self._book = RuleBook()
        self._hits: dict[tuple[str, str], float] = {}

    async def start(self) -> None:
        """Read the rules. Raises ConfigurationError."""
        await self._read()

    async def _read(self) -> None:
        self._book = RuleBook([*self._configured(), *await self._store.list_rules()])

    def _configured(self) -> list[Rule]:
        try:
            bans = [
                Rule(RuleKind.BAN, self._pattern(pattern), one_line(reason))
                for pattern, reason in self.banned.items()
            ]
            allowed = [Rule(RuleKind.ALLOW, self._pattern(pattern)) for pattern in self.allowed]
        except InvalidInput as error:
            raise ConfigurationError(f"Rules.banned or Rules.allowed: {error.message}") from error
        return bans + allowed

    def _pattern(self, text: str) -> str:
        """Return a pattern; any page of a repository stands for the repository."""
        if "*" not in text and not _HOST_AND_PORT.match(text.strip()):
            with contextlib.suppress(NotUnderstood):
                spec = self._providers.understand(text).spec
                if known := self._providers[spec.provider].identities(spec):
                    return min(known, key=len)
                text = f"{spec.provider}/{spec.repo}"
        return clean_pattern(text, self._providers.hosts)

    # --- Asking -----------------------------------------------------------------------------

    @property
    def all(self) -> tuple[Rule, ...]:
        """Return all rules, the configuration's first, then newest first."""
        return self._book.rules

    def names(self, of: Spec | Resolved | Build | Environment) -> frozenset[str]:
        """Return the names that rules may match."""
        spec, urls = (of, []) if isinstance(of, Spec) else (of.spec, [of.repo_url])
        if isinstance(of, Resolved | Build):
            urls.append(of.clone_url)
        return self._providers.identities(spec, *urls)

    def judge(self, of: Spec | Resolved | Build | Environment, person: str = "") -> Refusal | None:
        """Return a reason to refuse a person, a repository, or that of an environment's files."""
        if not self._book.rules:
            return None
        refusal = self._book.judge(self.names(of), person)
        if refusal is None and isinstance(of, Environment) and of.content_url:
            refusal = self._book.judge(self.names(Spec("git", of.content_url)))
        return refusal

    def require(self, user: User, of: Spec | Resolved | Build | Environment) -> None:
        """Raise NotAllowed for a refused person or repository, with an audit entry."""
        refusal = self.judge(of, user.name)
        if refusal is None:
            return
        self.note_hit(user.name, of, refusal)
        raise NotAllowed(refusal.message, code=refusal.code, detail={"pattern": refusal.pattern})

    def repository_of(self, spec: Spec) -> str:
        """Return the pattern that means one repository and nothing else; empty if there is none."""
        known = self._providers.identities(spec)
        alone = [name for name in known if "/" in name and not re.search(r"[*?]", name)]
        return min(
            alone, key=lambda name: ("." not in name.partition("/")[0], len(name)), default=""
        )

    def is_banned(self, repository: str, person: str = "") -> bool:
        """Say whether a repository, as rules name it, or a person is banned."""
        names = {repository} if repository else frozenset[str]()
        return self._book.find_ban(names, person) is not None

    def note_hit(
        self, name: str, of: Spec | Resolved | Build | Environment, refusal: Refusal
    ) -> None:
        """Add an audit entry about a refusal, at most one per minute."""
        target = _shown(self.names(of))
        now = time.monotonic()
        if self._hits.get((name, target), float("-inf")) > now - 60:
            return
        if len(self._hits) > 1000:
            self._hits.clear()
        self._hits[name, target] = now
        self._audit.note(name, Action.RULE_HIT, target, pattern=refusal.pattern, code=refusal.code)

    # --- Changing -----------------------------------------------------------------------------

    async def add(
        self,
        user: User,
        kind: RuleKind,
        pattern: str,
        reason: str = "",
        *,
        shows_reason: bool = True,
    ) -> Rule:
        """Keep a rule, or replace its reason. Raises InvalidInput."""
        by_name = kind is RuleKind.BAN_PERSON
        cleaned = clean_person(pattern) if by_name else self._pattern(pattern)
        if by_name and cleaned == user.name:
            raise InvalidInput("You can't ban yourself.", detail={"field": "pattern"})
        if kind is RuleKind.BAN and not cleaned.strip("*/"):
            raise InvalidInput(
                "This would ban every repository. To stop builds for a while, pause them.",
                detail={"field": "pattern"},
            )
        return await self._keep(user.name, kind, cleaned, reason, shows_reason)

    async def ban_repository(self, spec: Spec, reason: str, *, shows_reason: bool) -> Rule | None:
        """Ban one repository in the service's name; None if a rule can't mean it alone."""
        pattern = self.repository_of(spec)
        if not pattern:
            return None
        return await self._keep(HUB_OWNER, RuleKind.BAN, pattern, reason, shows_reason)

    async def _keep(
        self, name: str, kind: RuleKind, pattern: str, reason: str, shows_reason: bool
    ) -> Rule:
        wanted = Rule(
            kind=kind,
            pattern=pattern,
            reason=one_line(reason)[:MAX_REASON_CHARACTERS],
            id=new_id(),
            created=utc_now(),
            created_by=name,
            shows_reason=shows_reason,
        )
        rule = await self._store.put_rule(wanted)
        await self._read()
        await self._audit.record(
            name,
            Action.RULE_ADD,
            rule.pattern,
            kind=rule.kind,
            reason=rule.reason,
            shows_reason=rule.shows_reason,
        )
        return rule

    async def remove(self, user: User, rule_id: str) -> Rule:
        """Remove an administrator's rule. Raises NotFound."""
        rule = await self._store.delete_rule(rule_id)
        if rule is None:
            raise NotFound(
                "There is no such rule. Rules from the configuration can only be changed there."
            )
        await self._read()
        await self._audit.record(user.name, Action.RULE_REMOVE, rule.pattern, kind=rule.kind)
        return rule

    def means_other_host(self, rule: Rule) -> bool:
        """Say whether a rule means all repositories of a host that is no provider's."""
        by_name = rule.kind is RuleKind.BAN_PERSON
        return not by_name and means_other_host(rule.pattern, self._providers.hosts)

    def get(self, rule_id: str) -> Rule:
        """Return an administrator's rule. Raises NotFound."""
        found = next((rule for rule in self.all if rule.id and rule.id == rule_id), None)
        if found is None:
            raise NotFound("There is no such rule.")
        return found

    def matched_by(self, rule: Rule, builds: Iterable[Build]) -> tuple[Build, ...]:
        """Return the builds that a rule matches."""
        if rule.kind is RuleKind.BAN_PERSON:
            return tuple(build for build in builds if build.created_by == rule.pattern)
        return tuple(build for build in builds if means(rule.pattern, self.names(build)))
