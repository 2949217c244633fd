"""Reads the rules: the package's own, then a site's."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from jupyterhub_binder.builds.explain.patterns import Pattern, read_pattern
from jupyterhub_binder.model.failures import Owner, WayKind

OWN_FILE = "failures.toml"
MAX_RULES = 500
MAX_FILE_BYTES = 1_000_000
_MAX_PATTERNS = 50
_MAX_TEXT = 400
_MAX_WAYS = 3
_ID = re.compile(r"[a-z][a-z0-9-]{1,47}")
_VALUE = re.compile(r"%\((\w+)\)s")


class Weight(StrEnum):
    """How sure a line is to be the cause. The first line of the surest kind decides."""

    DECISIVE = "decisive"
    """Shortly after a cause, it tells better what happened, as a hint does."""
    CAUSE = "cause"
    LIKELY = "likely"
    """Unless a cause is found, such as a package without a wheel that is then built."""
    FOLLOWS = "follows"
    """What often follows from a cause, such as a retry or an exit status."""


@dataclass(frozen=True, slots=True)
class FailureRule:
    """One known kind of failure."""

    id: str
    owner: Owner
    says: str = ""
    """One sentence with places such as ``%(package)s``; empty to keep the service's own."""
    match: tuple[Pattern, ...] = ()
    unless: tuple[str, ...] = ()
    """Texts that rule a line out."""
    codes: tuple[str, ...] = ()
    """The service's own codes that this rule stands for, whatever the log says."""
    fallback: tuple[str, ...] = ()
    """The codes that it stands for if no line of the log says more."""
    weight: Weight = Weight.CAUSE
    ways: tuple[WayKind, ...] = ()
    advice: str = ""
    """The sentence of the way `advice`."""
    opens: tuple[str, ...] = ()
    """The names of the files to open; the first that the repository has."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Values for patterns that have none of that name."""


class RuleError(ValueError):
    """A rule that cannot be used. The message names it."""


@cache
def own_rules() -> tuple[FailureRule, ...]:
    """Return the package's rules."""
    text = files("jupyterhub_binder.builds.explain").joinpath(OWN_FILE).read_text("utf-8")
    return parse_rules(text, source=OWN_FILE)


def read_rules(path: str = "") -> tuple[FailureRule, ...]:
    """Return a site's rules, then the package's; one of the same id replaces ours.

    Raises RuleError, and OSError if the file cannot be read.
    """
    if not path:
        return own_rules()
    with Path(path).open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise RuleError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise RuleError(f"{path} is not UTF-8: {error}") from error
    site = parse_rules(text, source=path)
    taken = {rule.id for rule in site}
    return (*site, *(rule for rule in own_rules() if rule.id not in taken))


def parse_rules(text: str, *, source: str) -> tuple[FailureRule, ...]:
    """Read rules from TOML. Raises RuleError."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RuleError(f"{source} is not TOML: {error}") from error
    if unknown := data.keys() - {"rule"}:
        raise RuleError(f"{source} has {_names(unknown)}; each rule begins with [[rule]]")
    tables = data.get("rule", [])
    if not isinstance(tables, list) or len(tables) > MAX_RULES:
        raise RuleError(f"{source} needs a list of at most {MAX_RULES} [[rule]]")
    rules = [_read(table, f"{source}, rule {n}") for n, table in enumerate(tables, 1)]
    seen: set[str] = set()
    for rule in rules:
        if rule.id in seen:
            raise RuleError(f"{source} has two rules with the id {rule.id}")
        seen.add(rule.id)
    return tuple(rules)


_FIELDS = {
    "id", "owner", "says", "match", "unless", "codes", "fallback", "weight", "ways", "advice",
    "opens", "values",
}  # fmt: skip


def _read(table: Any, place: str) -> FailureRule:
    if not isinstance(table, dict):
        raise RuleError(f"{place}: write it as [[rule]]")
    name = table.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise RuleError(f"{place}: id must be 2 to 48 lower-case letters, digits and dashes")
    place = f"{place} ({name})"
    if unknown := table.keys() - _FIELDS:
        raise RuleError(f"{place}: unknown {_names(unknown)}; known are {_names(_FIELDS)}")
    rule = FailureRule(
        id=name,
        owner=_choice(Owner, table.get("owner"), f"{place}: owner"),
        says=_text(table.get("says", ""), f"{place}: says"),
        match=tuple(_patterns(table.get("match", []), f"{place}: match")),
        unless=_texts(table.get("unless", []), f"{place}: unless"),
        codes=_texts(table.get("codes", []), f"{place}: codes"),
        fallback=_texts(table.get("fallback", []), f"{place}: fallback"),
        weight=_choice(Weight, table.get("weight", Weight.CAUSE), f"{place}: weight"),
        ways=tuple(
            _choice(WayKind, way, f"{place}: ways")
            for way in _texts(table.get("ways", []), f"{place}: ways")
        ),
        advice=_text(table.get("advice", ""), f"{place}: advice"),
        opens=_texts(table.get("opens", []), f"{place}: opens"),
        values=_values(table.get("values", {}), f"{place}: values"),
    )
    _check(rule, place)
    return rule


def _check(rule: FailureRule, place: str) -> None:
    if not (rule.match or rule.codes or rule.fallback):
        raise RuleError(f"{place}: needs match, codes or fallback")
    if rule.match and not rule.says:
        raise RuleError(f"{place}: needs says")
    if not 1 <= len(rule.ways) <= _MAX_WAYS or len(set(rule.ways)) < len(rule.ways):
        raise RuleError(f"{place}: needs one to {_MAX_WAYS} different ways")
    if (WayKind.ADVICE in rule.ways) != bool(rule.advice):
        raise RuleError(f"{place}: advice is the sentence of the way “advice”; write both or none")
    if (WayKind.OPEN in rule.ways) != bool(rule.opens):
        raise RuleError(f"{place}: opens has the files of the way “open”; write both or none")
    for text in (rule.says, rule.advice):
        _check_places(rule, text, place)


def _check_places(rule: FailureRule, text: str, place: str) -> None:
    wanted = set(_VALUE.findall(text))
    if "%" in _VALUE.sub("", text).replace("%%", ""):
        raise RuleError(f"{place}: {text!r}: write %(name)s for a value and %% for a per cent sign")
    for pattern in rule.match:
        if missing := wanted - pattern.names - rule.values.keys():
            raise RuleError(
                f"{place}: {pattern.text!r} has no {{{min(missing)}}}; give it in values"
            )
    if not rule.match and (missing := wanted - rule.values.keys()):
        raise RuleError(f"{place}: nothing gives {{{min(missing)}}}")


E = TypeVar("E", bound=StrEnum)


def _choice(kind: type[E], value: Any, place: str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise RuleError(f"{place} must be one of: {', '.join(kind)}") from None


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or "\n" in value:
        raise RuleError(f"{place} must be a text on one line, of at most {_MAX_TEXT} characters")
    return value


def _texts(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MAX_PATTERNS:
        raise RuleError(f"{place} must be a list of at most {_MAX_PATTERNS} texts")
    return tuple(_text(item, place) for item in value)


def _patterns(value: Any, place: str) -> Iterable[Pattern]:
    for text in _texts(value, place):
        try:
            yield read_pattern(text)
        except ValueError as error:
            raise RuleError(f"{place}: {error}") from error


def _values(value: Any, place: str) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise RuleError(f"{place} must be a table of texts")
    return {name: _text(text, place) for name, text in value.items()}


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def by_code(rules: Sequence[FailureRule], codes: Iterable[str]) -> FailureRule | None:
    """Return the rule that stands for a code, whatever the log says."""
    wanted = set(codes)
    return next((rule for rule in rules if wanted.intersection(rule.codes)), None)


def by_fallback(rules: Sequence[FailureRule], codes: Iterable[str]) -> FailureRule | None:
    """Return the rule for a code that no line of the log explains."""
    wanted = set(codes)
    return next((rule for rule in rules if wanted.intersection(rule.fallback)), None)
