"""Checks and normalises names and paths from users."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.utils.text import is_printable, one_line

MAX_NAME_CHARACTERS = 200
MAX_PATH_CHARACTERS = 1000
MAX_ADDRESS_CHARACTERS = 2000
"""Of a repository URL or BinderHub spec."""
MAX_REF_CHARACTERS = 250
MAX_PERSON_CHARACTERS = 255
"""The hub's database limit."""
MAX_SERVER_CHARACTERS = 255
"""The hub's database limit."""
MAX_SEARCH_CHARACTERS = 200


def clean_name(name: str) -> str:
    """Return one line of 1 to 200 printable characters. Raises InvalidInput."""
    text = one_line(name)
    if not text:
        raise InvalidInput("Give the environment a name.", detail={"field": "name"})
    if len(text) > MAX_NAME_CHARACTERS:
        raise InvalidInput(
            "The name has %(used)s characters. It may have at most %(most)s.",
            used=len(text),
            most=MAX_NAME_CHARACTERS,
            detail={"field": "name"},
        )
    return text


def clean_path(path: str) -> str:
    """Return a path of a repository, or an address of the server.

    ``notebooks/intro.ipynb`` stays in the repository; ``/rstudio`` is below the server's URL.
    Raises InvalidInput.
    """
    path = path.strip()
    if path.startswith("/"):
        return clean_address(path)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    bad = any(part == ".." or not all(map(is_printable, part)) for part in parts)
    if bad or "\\" in path or len(path) > MAX_PATH_CHARACTERS:
        raise InvalidInput(
            "The path to open must be inside the repository, such as notebooks/intro.ipynb.",
            detail={"field": "path"},
        )
    return "/".join(parts)


def clean_address(address: str) -> str:
    """Return an ASCII address below a server, ``/rstudio/?view=1``; "" for ``/``.

    Raises InvalidInput if a browser, proxy or server might resolve it elsewhere.
    """
    text = address.strip()
    fit = len(text) <= MAX_PATH_CHARACTERS and all(map(is_printable, text))
    escaped = quote(text, safe=_MARKS) if fit else ""
    if not fit or len(escaped) > MAX_PATH_CHARACTERS or "\\" in text or _leads_out(text):
        raise InvalidInput(
            "The address to open must be on the server, such as /rstudio.",
            detail={"field": "path"},
        )
    return "" if escaped == "/" else escaped


def split_address(address: str) -> tuple[str, str, str]:
    """Split an address: ``/voila/render/``, ``a%20b.ipynb``, ``?x=1``.

    The parts stay percent-encoded. Without a file, the first is everything.
    """
    found = _OF_A_FILE.fullmatch(address)
    return (found[1], found[2], found[3]) if found else (address, "", "")


_MARKS = "/?#[]@!$&'()*+,;=:~%"

_MAX_ESCAPES = 5
"""Levels of percent-encoding."""

_OF_A_FILE = re.compile(
    r"(/(?:(?:lab|doc)(?:/workspaces/[^/?#]+)?/tree|(?:retro/|nbclassic/)?(?:tree|notebooks|edit)"
    r"|voila/render)/)([^?#]+)(.*)"
)
"""Jupyter URLs that name a file."""


def _leads_out(address: str) -> bool:
    """Say whether an address might resolve outside the server.

    Proxies may decode escaped slashes.
    """
    text = re.split(r"[?#]", address, maxsplit=1)[0]
    for _ in range(_MAX_ESCAPES):
        if _is_elsewhere(text):
            return True
        if (plain := unquote(text)) == text:
            return False
        text = plain
    return True


def _is_elsewhere(path: str) -> bool:
    return (
        not path.startswith("/")
        or "//" in path
        or "\\" in path
        or not all(map(is_printable, path))
        or re.match(r"/\s*[A-Za-z][A-Za-z0-9+.-]*:", path) is not None
        # Some servers ignore what follows a semicolon.
        or any(part.partition(";")[0].strip() in (".", "..") for part in path.split("/"))
    )


def clean_server_name(name: str) -> str:
    """Return a name for the hub, "" for the default. Raises InvalidInput."""
    name = name.strip()
    # Dots would change the path of the hub's API.
    if name in (".", "..") or len(name) > MAX_SERVER_CHARACTERS:
        raise InvalidInput(
            "A server name may have at most %(most)s characters, and it must not be “.” or “..”.",
            most=MAX_SERVER_CHARACTERS,
            detail={"field": "server_name"},
        )
    return name
