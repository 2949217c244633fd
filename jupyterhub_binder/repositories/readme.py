"""What a repository's README says about it: its first paragraph as text, and its first picture.

Everything in it is untrusted: the text is plain, and the picture is a file of the repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import chain, pairwise
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from jupyterhub_binder.repositories.pictures import MAX_BYTES, Picture, read_picture
from jupyterhub_binder.utils.text import one_line

MAX_CHARACTERS = 300
"""Of a paragraph."""

_MAX_README_BYTES = 8 * 2**10
"""Its beginning has both; the time to parse grows with the square of hostile texts."""

_MAX_PICTURES = 3
"""Tried in order."""
_MIN_LETTERS = 12
"""Outside links: a row of links or badges is no paragraph."""

_NAMES = ("readme.md", "readme.markdown", "readme.rst", "readme.txt", "readme")
"""Best first, in any case."""

_PICTURE_NAMES = (".png", ".jpg", ".jpeg", ".gif", ".webp")


@dataclass(frozen=True, slots=True)
class About:
    """What a repository says about itself."""

    paragraph: str = ""
    picture: Picture | None = None


def read_about(folder: Path) -> About:
    """Read a checkout with its README and pictures. Follows no links. Blocks."""
    text = _read_text(folder)
    tokens = _parse(text)
    paths = _pictures(text, tokens)
    pictures = (read_picture(_read_bytes(folder, path, MAX_BYTES + 1)) for path in paths)
    return About(_first_paragraph(tokens), next((each for each in pictures if each), None))


def find_pictures(folder: Path) -> set[str]:
    """Return the pictures of the README that are files of the repository. Blocks."""
    text = _read_text(folder)
    return set(_pictures(text, _parse(text)))


# --- Files ------------------------------------------------------------------------------------


def _read_text(folder: Path) -> str:
    names = {path.name.lower(): path.name for path in folder.iterdir()}
    name = next((names[each] for each in _NAMES if each in names), "")
    return _read_bytes(folder, name, _MAX_README_BYTES).decode("utf-8-sig", "replace")


def _read_bytes(folder: Path, path: str, size: int) -> bytes:
    """Return the beginning of a file; nothing for a link, or behind one."""
    parts = PurePosixPath(path).parts
    places = [folder.joinpath(*parts[: end + 1]) for end in range(len(parts))]
    try:
        if not places or any(place.is_symlink() for place in places) or not places[-1].is_file():
            return b""
        with places[-1].open("rb") as file:
            return file.read(size)
    except (OSError, ValueError):
        return b""


# --- Text -------------------------------------------------------------------------------------


def find_paragraph(text: str) -> str:
    """Return the first paragraph that says something, as plain text of bounded length."""
    return _first_paragraph(_parse(text))


def _first_paragraph(tokens: list[Token]) -> str:
    for letters, paragraph in _paragraphs(tokens):
        if letters >= _MIN_LETTERS:
            return _shortened(paragraph)
    return ""


def _shortened(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    cut = text[: MAX_CHARACTERS - 1]
    words = cut.rpartition(" ")[0]
    return f"{words if len(words) > MAX_CHARACTERS // 2 else cut}…"


def _parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").parse(_RST_LINK.sub(_name_of_rst_link, text))


def _paragraphs(tokens: list[Token]) -> Iterator[tuple[int, str]]:
    """Yield the letters outside links, and the text, of each paragraph outside lists and quotes."""
    for before, token in pairwise(tokens):
        if before.type != "paragraph_open" or before.level:
            continue
        if not token.content.startswith(_NO_PROSE):
            yield _plain(token.children or [])


_NO_PROSE = ("|", ".. ", ":")
"""How tables begin, and directives and fields of reStructuredText."""

_RST_LINK = re.compile(r"`([^`<]*)<[^`>]*>`__?")


def _name_of_rst_link(found: re.Match[str]) -> str:
    return found[1].rstrip()


def _plain(tokens: list[Token]) -> tuple[int, str]:
    letters, depth, words = 0, 0, list[str]()
    for token in tokens:
        depth += (token.type == "link_open") - (token.type == "link_close")
        if token.type in ("text", "code_inline"):
            words.append(token.content)
            letters += 0 if depth else sum(map(str.isalpha, token.content))
        elif token.type in ("softbreak", "hardbreak"):
            words.append(" ")
    return letters, one_line("".join(words))


# --- Pictures ---------------------------------------------------------------------------------


def _pictures(text: str, tokens: list[Token]) -> list[str]:
    """Return the paths of the README's pictures that may be files of the repository, in order."""
    sources = chain(_sources(tokens), _RST_PICTURE.findall(text))
    paths = filter(None, map(_path_of, sources))
    return list(dict.fromkeys(paths))[:_MAX_PICTURES]


_RST_PICTURE = re.compile(r"^\.\. (?:image|figure):: (\S+)", re.MULTILINE)


def _sources(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "image":
            yield str(token.attrs.get("src", ""))
        elif token.type in ("html_block", "html_inline"):
            yield from _sources_of_html(token.content)
        yield from _sources(token.children or [])


class _Images(HTMLParser):
    """Collects the sources of images."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an image."""
        if tag == "img":
            self.found += [value for name, value in attrs if name == "src" and value]


def _sources_of_html(text: str) -> list[str]:
    parser = _Images()
    with suppress(AssertionError):  # so it ends at a wrong declaration, such as ``<![x``
        parser.feed(text)
    return parser.found


def _path_of(source: str) -> str:
    """Return the path of a picture below the README's folder; "" for anything else."""
    try:
        parts = urlsplit(source)
    except ValueError:
        return ""
    path = unquote(parts.path).removeprefix("./")
    fit = path.isprintable() and len(path) <= 200 and path.lower().endswith(_PICTURE_NAMES)
    if parts.scheme or parts.netloc or not fit or re.search(r"(^|/)\.", path) or "\\" in path:
        return ""
    return path.strip("/")
