"""What a person may write: names and paths, checked and made plain.

Pure. For a text's meaning as a link see `providers.links`; for names that machines make of
texts, `slugs`.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote

from jupyterhub_binder.errors import InvalidInput

MOST_NAME_CHARACTERS = 200
"""Of an environment."""
MOST_PATH_CHARACTERS = 1000
MOST_ADDRESS_CHARACTERS = 2000
"""Of a repository, as pasted, or as BinderHub's spec."""
MOST_REF_CHARACTERS = 250
MOST_PERSON_CHARACTERS = 255
"""Of a person's or a group's name, as the hub's database has it."""
MOST_SERVER_CHARACTERS = 255
"""Of a named server, likewise."""
MOST_SEARCH_CHARACTERS = 200


def clean_name(name: str) -> str:
    """Return a name fit to keep: one line, no control characters, 1 to 200 characters.

    Raises InvalidInput.
    """
    text = one_line(name)
    if not text:
        raise InvalidInput("Give the environment a name.", detail={"field": "name"})
    if len(text) > MOST_NAME_CHARACTERS:
        raise InvalidInput(
            f"The name has {len(text)} characters; {MOST_NAME_CHARACTERS} are the most.",
            detail={"field": "name"},
        )
    return text


def clean_path(path: str) -> str:
    """Return what opens: a file or folder of a repository, or an address of the server.

    ``notebooks/intro.ipynb`` is relative to the repository's root, with forward slashes and no
    way out of it. What begins with a slash is below the server's own address: ``/rstudio``.
    Raises InvalidInput.
    """
    path = path.strip()
    if path.startswith("/"):
        return clean_address(path)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    bad = any(part == ".." or not all(map(_is_printable, part)) for part in parts)
    if bad or "\\" in path or len(path) > MOST_PATH_CHARACTERS:
        raise InvalidInput(
            "The path to open must be one inside the repository, such as notebooks/intro.ipynb.",
            detail={"field": "path"},
        )
    return "/".join(parts)


def clean_address(address: str) -> str:
    """Return an address below a server, ``/rstudio/?view=1``, in ASCII; empty for ``/`` alone.

    Raises InvalidInput for one that a browser, a proxy or a server might read as one elsewhere.
    """
    text = address.strip()
    fit = len(text) <= MOST_PATH_CHARACTERS and all(map(_is_printable, text))
    escaped = quote(text, safe=_MARKS) if fit else ""
    if not fit or len(escaped) > MOST_PATH_CHARACTERS or "\\" in text or _leads_out(text):
        raise InvalidInput(
            "An address to open must be one of the server's own, such as /rstudio.",
            detail={"field": "path"},
        )
    return "" if escaped == "/" else escaped


def split_address(address: str) -> tuple[str, str, str]:
    """Return an address below a server in three: what opens files there, the file, what follows.

    ``/voila/render/``, ``a%20b.ipynb`` and ``?x=1``; all as they were, percent-encoded. The file
    is empty, and the first is all of it, where it is no address of a file.
    """
    found = _OF_A_FILE.fullmatch(address)
    return (found[1], found[2], found[3]) if found else (address, "", "")


_MARKS = "/?#[]@!$&'()*+,;=:~%"
"""What has a meaning in an address, or has been escaped already."""

_MOST_ESCAPES = 5
"""How often over what is escaped in an address is looked at."""

_OF_A_FILE = re.compile(
    r"(/(?:(?:lab|doc)(?:/workspaces/[^/?#]+)?/tree|(?:retro/|nbclassic/)?(?:tree|notebooks|edit)"
    r"|voila/render)/)([^?#]+)(.*)"
)
"""Addresses of Jupyter's applications that name a file of the server."""


def _leads_out(address: str) -> bool:
    """Say whether an address below a server might be read as one elsewhere.

    Whatever is in front of the server may take an escaped slash for a slash.
    """
    text = re.split(r"[?#]", address, maxsplit=1)[0]
    for _ in range(_MOST_ESCAPES):
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
        or not all(map(_is_printable, path))
        or re.match(r"/\s*[A-Za-z][A-Za-z0-9+.-]*:", path) is not None
        # Some servers take what follows a semicolon for no part of a name.
        or any(part.partition(";")[0].strip() in (".", "..") for part in path.split("/"))
    )


def clean_server_name(name: str) -> str:
    """Return a server's name as the hub takes it; empty for the default server.

    Raises InvalidInput.
    """
    name = name.strip()
    # In an address of the hub's API the dots mean something else.
    if name in (".", "..") or len(name) > MOST_SERVER_CHARACTERS:
        raise InvalidInput("A server cannot be called so.", detail={"field": "server_name"})
    return name


def one_line(text: str) -> str:
    """Return a text on one line, with a space for whatever does not show."""
    return " ".join("".join(c if _is_printable(c) else " " for c in text).split())


def _is_printable(character: str) -> bool:
    """Say whether a character may stand in a name: no control, no surrogate, no bidi override."""
    return unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") and not (
        "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    )
