"""Groups failures that no rule explains: one fingerprint for one kind.

Numbers, hashes, times, paths and URLs do not count, so the same failure of another commit or
another machine has the same fingerprint.
"""

from __future__ import annotations

import hashlib
import re

MAX_CHARACTERS = 300

_CHANGING = re.compile(
    r"""
    [a-z][a-z0-9+.-]{1,20}://[^\s'"<>]{1,500}     # URLs
    | (?<![\w.])(?:~|\.{1,2})?/[^\s'":,;()<>]{1,500} # paths
    | \b0x[0-9a-f]{1,32}\b                          # addresses
    | \b(?=[a-f]{0,63}[0-9])[0-9a-f]{7,64}\b         # hashes
    | [0-9]{1,30}(?:[.:,_-][0-9]{1,30}){0,10}        # numbers, versions, times
    """,
    re.VERBOSE,
)
_SPACES = re.compile(r"\s+")
# The end of a line of an error, surest first.
_TELLING = (
    re.compile(r"^(?:[A-Za-z_][\w.]{0,80}(?:Error|Exception|Failed|Interrupt)|fatal|panic|E)\b ?:"),
    re.compile(r"(?i)^(?:[\w./-]{1,80}: )?(?:fatal )?error\b"),
    re.compile(r"(?i)\b(?:error|cannot|can't|could not|failed|denied|invalid|not found|refused)\b"),
)


def normalise(line: str) -> str:
    """Return a line without what changes from build to build."""
    plain = _CHANGING.sub("#", line[:MAX_CHARACTERS].lower())
    return _SPACES.sub(" ", plain).strip(" .:#-*=")


def fingerprint(code: str, line: str) -> str:
    """Return 12 hexadecimal digits for a failure."""
    return hashlib.sha256(f"{code}\n{normalise(line)}".encode("utf-8", "replace")).hexdigest()[:12]


def tells(line: str) -> int:
    """Say how much a line looks like an error's: 0 for not at all."""
    found = (n for n, pattern in enumerate(_TELLING) if pattern.search(line[:MAX_CHARACTERS]))
    rank = next(found, None)
    return 0 if rank is None else len(_TELLING) - rank
