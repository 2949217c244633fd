"""Applies the rules to a failed build. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jupyterhub_binder.builds.explain.fingerprint import fingerprint, tells
from jupyterhub_binder.builds.explain.index import RuleIndex
from jupyterhub_binder.builds.explain.lines import LogLine, read_lines
from jupyterhub_binder.builds.explain.rules import FailureRule, Weight, by_code, by_fallback
from jupyterhub_binder.builds.explain.ways import FilesAtHost, make_ways
from jupyterhub_binder.model import Phase, Reason
from jupyterhub_binder.model.failures import Explanation, Owner
from jupyterhub_binder.model.text import Message

_MAX_QUOTE = 300
_SURENESS = tuple(Weight)
_HINT_LINES = 20
"""How far after a cause a decisive line may stand."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a failed build besides its log."""

    reason: Reason
    place: FilesAtHost = field(default_factory=FilesAtHost)
    phase: Phase = Phase.BUILDING

    @property
    def codes(self) -> tuple[str, str]:
        """The code, as rules name it: alone, or with the phase as in ``fetching:not_found``."""
        return self.reason.code, f"{self.phase}:{self.reason.code}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule and the line that it matched."""

    rule: FailureRule
    line: LogLine
    values: Mapping[str, str]


class Finder:
    """Reads a log once, in parts, and keeps what the rules find."""

    def __init__(self, index: RuleIndex) -> None:
        self._index = index
        self._hits: dict[Weight, Hit] = {}
        self._telling: tuple[int, LogLine] | None = None
        self._last: LogLine | None = None

    @property
    def done(self) -> bool:
        """Whether later lines can't change the cause."""
        cause = self._hits.get(Weight.CAUSE)
        return Weight.DECISIVE in self._hits or (
            cause is not None
            and self._last is not None
            and self._last.seq > cause.line.seq + _HINT_LINES
        )

    @property
    def hit(self) -> Hit | None:
        """The first line of the surest kind.

        A network that fails later does not explain what was likely before: a package without a
        wheel is not there, although the attempt to build it reached no host.
        """
        cause, likely = self._hits.get(Weight.CAUSE), self._hits.get(Weight.LIKELY)
        if Weight.DECISIVE in self._hits:
            return self._hits[Weight.DECISIVE]
        if cause and likely and cause.rule.owner is Owner.NETWORK:
            return min(cause, likely, key=lambda hit: hit.line.seq)
        return next((self._hits[weight] for weight in _SURENESS if weight in self._hits), None)

    @property
    def telling(self) -> LogLine | None:
        """The last line that looks most like an error's, else the last line."""
        return self._telling[1] if self._telling else self._last

    def read(self, lines: Iterable[tuple[int, str]]) -> None:
        """Read the next lines, each with its number, until the cause is found."""
        for line in read_lines(lines):
            if self.done:
                return
            self._look(line)

    def read_sentence(self, seq: int, text: str) -> None:
        """Read the service's own sentence, which becomes the log's last line."""
        for line in read_lines([(seq, text)]):
            if not self.done:
                self._match(line)

    def _look(self, line: LogLine) -> None:
        self._match(line)
        self._last = line
        telling = tells(line.text)
        if telling and (self._telling is None or telling >= self._telling[0]):
            self._telling = (telling, line)

    def _match(self, line: LogLine) -> None:
        for rule, pattern in self._index.candidates(line.text):
            if rule.weight in self._hits or (values := pattern.match(line.text)) is None:
                continue
            if not any(text in line.text for text in rule.unless):
                self._hits[rule.weight] = Hit(rule, line, {**rule.values, **values})
                break


class Explainer:
    """Explains failures by rules."""

    def __init__(self, rules: Sequence[FailureRule]) -> None:
        self.rules = tuple(rules)
        self._index = RuleIndex(self.rules)

    def finder(self) -> Finder:
        """Return a reader for one log."""
        return Finder(self._index)

    def needs_log(self, failure: Failure) -> bool:
        """Whether the lines can say more than the code does."""
        return by_code(self.rules, failure.codes) is None

    def explain(self, failure: Failure, finder: Finder) -> Reason:
        """Return the reason with its explanation, and the backend's hint."""
        told = self._explain(failure, finder)
        if not told.hint:
            return told
        return replace(told, message=Message.joined(told.message, told.hint), hint="")

    def _explain(self, failure: Failure, finder: Finder) -> Reason:
        reason = failure.reason
        if (rule := by_code(self.rules, failure.codes)) is not None:
            return _told(failure, rule, finder, reason.seq)
        if (hit := finder.hit) is not None:
            return _found(failure, hit)
        if (rule := by_fallback(self.rules, failure.codes)) is not None:
            return _told(failure, rule, finder, reason.seq)
        line = finder.telling
        if line is None:
            line = LogLine(0, str(reason.message))
        explanation = Explanation(
            line=_quote(line) if line.seq else "",
            ways=make_ways(None, {}, failure.place),
            fingerprint=fingerprint(reason.code, line.text),
        )
        return replace(reason, seq=reason.seq or line.seq or None, explanation=explanation)


def _found(failure: Failure, hit: Hit) -> Reason:
    rule = hit.rule
    explanation = Explanation(
        rule=rule.id,
        owner=rule.owner,
        line=_quote(hit.line),
        ways=make_ways(rule, hit.values, failure.place),
    )
    message = Message.from_parts(rule.says, "", hit.values)
    return replace(failure.reason, message=message, seq=hit.line.seq, explanation=explanation)


def _told(failure: Failure, rule: FailureRule, finder: Finder, seq: int | None) -> Reason:
    """Apply a rule for a code: the service's own sentence stays, unless the rule has one."""
    reason = failure.reason
    line = finder.telling if seq is None else None
    explanation = Explanation(
        rule=rule.id,
        owner=rule.owner,
        line=_quote(line) if line else "",
        ways=make_ways(rule, {**_texts_in(reason.message), **rule.values}, failure.place),
    )
    message = Message.from_parts(rule.says, "", rule.values) if rule.says else reason.message
    return replace(
        reason, message=message, seq=seq or (line.seq if line else None), explanation=explanation
    )


def _texts_in(message: str) -> Mapping[str, str]:
    """Return the texts that the service's own sentence names, such as a path."""
    values = message.values if isinstance(message, Message) else {}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def _quote(line: LogLine) -> str:
    text = line.text
    return text if len(text) <= _MAX_QUOTE else f"{text[: _MAX_QUOTE - 1]}…"
