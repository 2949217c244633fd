"""Removes secrets from log lines and the audit log, rather too much than too little.

It finds them by form (``Authorization:``, ``token=``, credentials in URLs, token prefixes) and by
value (those given to the service).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

MARK = "[secret]"

_LEAST = 6
"""Shorter secrets are not searched by value."""

_TELLING = re.compile(
    r"token|xsrf|passw(?:or)?d|passwd|pwd|secret|api_?key|private_?key|credentials?|signature|-key\b",
    re.IGNORECASE,
)
# Each name is scanned once, from its start: a client who chooses what is logged must not be able to
# choose text that takes minutes.
_NAME = rf"(?<![\w.-])(?=[\w.-]*?(?:{_TELLING.pattern}))[\w.-]++"
_GITLAB = "glpat|gloas|gldt|glrt|glrtr|glcbt|glptt|glft|glimt|glagent|glwt|glsoat|glffct"
_FORMS = (
    # Authorization: Bearer abc, and the same as JSON or as Python writes a dict
    re.compile(
        r"""(?P<keep>\b(?:proxy-)?authorization\b["']?\s*[:=,]\s*[b]?["']?(?:\w+\s+)?)[^\s"',;)}\]]+""",
        re.IGNORECASE,
    ),
    re.compile(r"""(?P<keep>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}""", re.IGNORECASE),
    # Cookie: a=b; c=d
    re.compile(r"""(?P<keep>\b(?:set-)?cookie["']?\s*[:=]\s*["']?)[^\r\n"']+""", re.IGNORECASE),
    # token=abc, 'password': 'abc', _xsrf=abc, X-Registry-Token: abc, token%253Dabc
    re.compile(rf"""(?P<keep>{_NAME}["']?\s*[=:]\s*b?["'])[^"']+""", re.IGNORECASE),
    re.compile(
        rf"""(?P<keep>{_NAME}(?:\s*=\s*|%(?:25)*+3D|:\s+))[^\s"'&;,)}}\]]+""",
        re.IGNORECASE,
    ),
    # OAuth's own parameters of a callback
    re.compile(r"(?P<keep>[?&](?:code|state|key|sig)=)[^\s&\"'#]+", re.IGNORECASE),
    # as JupyterHub logs them
    re.compile(r"""(?P<keep>\bxsrf cookie for b?["'])[^"']+"""),
    re.compile(r"""(?P<keep>\boauth[ -]state(?: argument)?[ =]+b?["']?)[^\s"']+""", re.IGNORECASE),
    # https://name:password@host, https://token@host
    re.compile(r"(?P<keep>(?<![a-z0-9+.-])[a-z0-9+.-]++://)[^\s/\"'<>]+(?=@)", re.IGNORECASE),
    # tokens of GitHub, GitLab, Hugging Face, Docker Hub and PyPI, some with parts after dots
    re.compile(
        r"(?P<keep>)\b(?:gh[pousr]_\w{16,}|github_pat_\w{16,}|hf_\w{16,}|dckr_pat_[\w-]{16,}"
        rf"|(?:{_GITLAB})-[\w-]{{16,}}|pypi-[\w-]{{32,}})(?:\.[\w-]+)*+"
    ),
    # JSON web tokens
    re.compile(
        r"(?<![\w-])(?=[\w-]++\.[\w-]{4,}+\.)(?P<keep>(?:[\w-]*?-)??)"
        r"eyJ[\w-]{8,}+\.[\w-]{4,}+\.[\w-]*+"
    ),
)
# A fast path for most texts: no form can match them.
_PLAIN = re.compile(rf"(?:(?!eyJ|(?:{_GITLAB})-|pypi-)[A-Za-z0-9./-])*")


class Redactor:
    """Removes known secrets and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: frozenset[str] = frozenset()
        self._values: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Learn secrets; short ones may be ordinary words."""
        known = self._known | {
            form
            for secret in secrets
            if len(secret) >= _LEAST
            for form in (secret, quote(secret, safe=""))
        }
        if known == self._known:
            return
        self._known = known
        longest_first = sorted(known, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first)))

    def redact(self, text: str) -> str:
        """Replace each secret by `MARK`."""
        if self._values is not None:
            text = self._values.sub(MARK, text)
        if _PLAIN.fullmatch(text):
            return text
        for form in _FORMS:
            text = form.sub(rf"\g<keep>{MARK}", text)
        return text


redactor = Redactor()
"""`log_format.learn_secrets` adds to it."""


def find_secrets(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the secrets in nested settings, found by name and in URLs."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            # Providers.tokens = {"host": "its token"}
            prefix = f"{name}." if name[:1].islower() and _TELLING.search(name) else ""
            yield from find_secrets({f"{prefix}{key}": item for key, item in value.items()})
        elif isinstance(value, list | tuple):
            yield from find_secrets({f"{name}.{i}": item for i, item in enumerate(value)})
        elif isinstance(value, bytes):
            yield from find_secrets({name: value.decode("latin-1")})
        elif isinstance(value, str):
            yield from _secrets_of(str(name), value)


def _secrets_of(name: str, value: str) -> Iterator[str]:
    if "://" in value:
        try:
            user_info, at, _ = urlsplit(value).netloc.rpartition("@")
        except ValueError:
            return
        password = user_info.partition(":")[2]
        if at and password:
            yield from (password, unquote(password))
    elif _TELLING.search(name) and not value.startswith("/"):  # a file's path is no secret
        yield value
