"""Finds the patterns that may match a line, without trying them all.

Most patterns hold a whole word, such as ``locate``: a line without this word cannot match. The
others are tried on every line.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from jupyterhub_binder.builds.explain.patterns import Pattern
from jupyterhub_binder.builds.explain.rules import FailureRule

_WORD = re.compile(r"\w+")


class RuleIndex:
    """Patterns by their words."""

    def __init__(self, rules: Sequence[FailureRule]) -> None:
        self._patterns = [(rule, pattern) for rule in rules for pattern in rule.match]
        self._by_word: dict[str, set[int]] = defaultdict(set)
        always: set[int] = set()
        for number, (_, pattern) in enumerate(self._patterns):
            word = find_word(pattern)
            (self._by_word[word] if word else always).add(number)
        self._always = frozenset(always)
        self._words = frozenset(self._by_word)

    def candidates(self, line: str) -> Iterator[tuple[FailureRule, Pattern]]:
        """Yield the rules with patterns that may match, in their order."""
        found = set(self._always)
        for word in self._words.intersection(_WORD.findall(line)):
            found |= self._by_word[word]
        for number in sorted(found):
            yield self._patterns[number]


def find_word(pattern: Pattern) -> str:
    """Return the longest word that any matching line has as a whole; empty if there is none."""
    words = []
    last = len(pattern.literals) - 1
    for number, literal in enumerate(pattern.literals):
        begins_line = pattern.at_start and number == 0
        ends_line = pattern.at_end and number == last
        for match in _WORD.finditer(literal):
            whole = (match.start() > 0 or begins_line) and (match.end() < len(literal) or ends_line)
            words += [match[0]] if whole else []
    return max(words, key=len, default="")
