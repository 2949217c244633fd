"""Which repositories may be built and launched: bans, and a list of what alone is allowed.

A `RuleBook` compares what was typed, cleaned, with a repository's names; both are pure, and the
spelling is `providers.identity`'s. Rules come from the configuration, which is fixed, and from
administrators, who change them while the service runs. When to ask is for `environments`,
`builds` and `launches` to know.
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

from jupyterhub_binder.audit import Audit
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import (
    ConfigurationError,
    InvalidInput,
    NotAllowed,
    NotFound,
    NotUnderstood,
)
from jupyterhub_binder.inputs import one_line
from jupyterhub_binder.model import Build, Environment, Resolved, Spec, User
from jupyterhub_binder.oversight import Action, Rule, RuleKind
from jupyterhub_binder.providers import Providers
from jupyterhub_binder.providers.identity import (
    BANNED,
    NOT_ON_LIST,
    Hosts,
    as_url,
    canonical,
    canonical_pattern,
    means,
    without_owner,
)
from jupyterhub_binder.slugs import new_id
from jupyterhub_binder.store import Store

MOST_PATTERN_CHARACTERS = 500
MOST_REASON_CHARACTERS = 500

_MOST_STARS = 8

# --- Rules over names ---------------------------------------------------------------------------


def clean_pattern(text: str, hosts: Hosts) -> str:
    """Return what somebody typed as a pattern. Raises InvalidInput."""
    typed = one_line(text)
    head, slash, _ = typed.partition("/")
    bare = head and slash and not re.search(r"[.*:%]", head) and head.lower() not in hosts
    if bare and "gh" in hosts:
        typed = f"gh/{typed}"
    url = as_url(re.sub(r"\*+", "*", typed), hosts)
    pattern = canonical_pattern(url) if "*" in url else canonical(url)
    too_much = len(pattern) > MOST_PATTERN_CHARACTERS or pattern.count("*") > _MOST_STARS
    if not pattern.strip("/") or too_much or " " in pattern.partition("/")[0]:
        raise InvalidInput(
            "Say which repositories: github.com/org/name, or github.com/org/* for all of them.",
            detail={"field": "pattern"},
        )
    return pattern if "*" in pattern else without_owner(pattern, hosts)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a repository may not be built or launched."""

    code: str
    message: str
    pattern: str = ""
    """Of the ban; empty where no rule allows the repository."""


class RuleBook:
    """Rules, ready to be asked. Never changes."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        bans = [rule for rule in self.rules if rule.kind is RuleKind.BAN]
        self._exact = {rule.pattern: rule for rule in reversed(bans) if "*" not in rule.pattern}
        self._wide = [rule for rule in bans if "*" in rule.pattern]
        self._allowed = [rule for rule in self.rules if rule.kind is RuleKind.ALLOW]

    def judge(self, names: Collection[str]) -> Refusal | None:
        """Say why a repository of these names is refused; None if it is not. A ban wins."""
        if ban := self._find_ban(names):
            return Refusal(BANNED, ban_words(ban, names), ban.pattern)
        if self._allowed and not any(means(rule.pattern, names) for rule in self._allowed):
            return Refusal(NOT_ON_LIST, _NOT_ON_LIST.format(_shown(names)))
        return None

    def _find_ban(self, names: Collection[str]) -> Rule | None:
        places = (place for name in names for place in _places(name))
        exact = next((self._exact[place] for place in places if place in self._exact), None)
        return exact or next((r for r in self._wide if means(r.pattern, names)), None)


def _places(name: str) -> Iterable[str]:
    """Return a repository's name, its group's, and so on up to its host."""
    return accumulate(name.split("/"), "{}/{}".format)


_NOT_ON_LIST = (
    "{} is not among the repositories that this hub builds. Ask its administrators to allow it."
)


def ban_words(ban: Rule, names: Collection[str]) -> str:
    """Return what a person reads whose repository is banned."""
    said = f"{_shown(names)} is banned on this hub"
    return f"{said}: {ban.reason.rstrip('.')}." if ban.reason else f"{said} by its administrators."


def _shown(names: Collection[str]) -> str:
    return max(names, key=lambda name: (len(name), name))


class Rules(LoggingConfigurable):
    """Which repositories may be built and launched, by the configuration and by admins."""

    banned = Dict(
        Unicode(),
        help="""
        Repositories that nobody may build or launch, each with the reason that people read.

        A repository is written as ``github.com/org/name``, or in any other way in which people
        write it; ``*`` stands for any text: ``{"github.com/org/*": "Too large for this hub"}``.
        Administrators add more while the service runs. Default: none.
        """,
    ).tag(config=True)

    allowed = List(
        Unicode(),
        help="""
        The only repositories that may be built and launched, written as those of `banned`.

        Default: empty, which allows all that is not banned. For example
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
        """Read the rules. Raises ConfigurationError for a configured one that means nothing."""
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
        """Return a pattern; the address of any page of a repository means the repository."""
        if "*" not in text:
            with contextlib.suppress(NotUnderstood):
                spec = self._providers.understand(text).spec
                if known := self._providers[spec.provider].identities(spec):
                    return min(known, key=len)
                text = f"{spec.provider}/{spec.repo}"
        return clean_pattern(text, self._providers.hosts)

    # --- Asking -----------------------------------------------------------------------------

    @property
    def all(self) -> tuple[Rule, ...]:
        """Return every rule: those of the configuration, then the others, newest first."""
        return self._book.rules

    def names(self, of: Spec | Resolved | Build | Environment) -> frozenset[str]:
        """Return the names of a repository by which rules may mean it."""
        spec, urls = (of, []) if isinstance(of, Spec) else (of.spec, [of.repo_url])
        if isinstance(of, Resolved | Build):
            urls.append(of.clone_url)
        return self._providers.identities(spec, *urls)

    def judge(self, of: Spec | Resolved | Build | Environment) -> Refusal | None:
        """Say why a repository is refused, None if it is not.

        An environment is refused for the repository of its files, too.
        """
        if not self._book.rules:
            return None
        refusal = self._book.judge(self.names(of))
        if refusal is None and isinstance(of, Environment) and of.content_url:
            refusal = self._book.judge(self.names(Spec("git", of.content_url)))
        return refusal

    def require(self, user: User, of: Spec | Resolved | Environment) -> None:
        """Raise NotAllowed if a repository is refused; the audit log tells who asked for it."""
        refusal = self.judge(of)
        if refusal is None:
            return
        self.note_hit(user.name, of, refusal)
        raise NotAllowed(refusal.message, code=refusal.code, detail={"pattern": refusal.pattern})

    def note_hit(
        self, name: str, of: Spec | Resolved | Build | Environment, refusal: Refusal
    ) -> None:
        """Tell the audit log that somebody wanted what is refused; once a minute is enough."""
        target = _shown(self.names(of))
        now = time.monotonic()
        if self._hits.get((name, target), float("-inf")) > now - 60:
            return
        if len(self._hits) > 1000:
            self._hits.clear()
        self._hits[name, target] = now
        self._audit.note(name, Action.RULE_HIT, target, pattern=refusal.pattern, code=refusal.code)

    # --- Changing -----------------------------------------------------------------------------

    async def add(self, user: User, kind: RuleKind, pattern: str, reason: str = "") -> Rule:
        """Keep a rule; one of the same pattern gets the new reason. Raises InvalidInput."""
        wanted = Rule(
            kind=kind,
            pattern=self._pattern(pattern),
            reason=one_line(reason)[:MOST_REASON_CHARACTERS],
            id=new_id(),
            created=utc_now(),
            created_by=user.name,
        )
        rule = await self._store.put_rule(wanted)
        await self._read()
        await self._audit.record(
            user.name, Action.RULE_ADD, rule.pattern, kind=rule.kind, reason=rule.reason
        )
        return rule

    async def remove(self, user: User, rule_id: str) -> Rule:
        """Remove a rule. Raises NotFound; the configuration's are not removed here."""
        rule = await self._store.delete_rule(rule_id)
        if rule is None:
            raise NotFound("There is no such rule. Those of the configuration are changed there.")
        await self._read()
        await self._audit.record(user.name, Action.RULE_REMOVE, rule.pattern, kind=rule.kind)
        return rule

    def get(self, rule_id: str) -> Rule:
        """Return an administrator's rule. Raises NotFound."""
        found = next((rule for rule in self.all if rule.id and rule.id == rule_id), None)
        if found is None:
            raise NotFound("There is no such rule.")
        return found

    def matched_by(self, rule: Rule, builds: Iterable[Build]) -> tuple[Build, ...]:
        """Return those of some builds that a rule matches."""
        return tuple(build for build in builds if means(rule.pattern, self.names(build)))
