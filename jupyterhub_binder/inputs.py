"""What a person may write: names and paths, checked and made plain.

Pure. For a text's meaning as a link see `providers.links`; for names that machines make of
texts, `slugs`.
"""

from __future__ import annotations

import unicodedata

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
    """Return a path inside a repository: relative, forward slashes, no way out of it.

    Raises InvalidInput.
    """
    parts = [part for part in path.strip().split("/") if part not in ("", ".")]
    bad = any(part == ".." or not all(map(_is_printable, part)) for part in parts)
    if bad or "\\" in path or len(path) > MOST_PATH_CHARACTERS:
        raise InvalidInput(
            "The path to open must be one inside the repository, such as notebooks/intro.ipynb.",
            detail={"field": "path"},
        )
    return "/".join(parts)


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
