"""Removes README badges and viewer pages from links. Pure."""

from __future__ import annotations

import html
import re

_BADGES = (
    # Markdown: [![alt](picture)](link "title"), [text](link)
    re.compile(r"\[.*\]\(\s*<?([^\s<>]+?)>?(?:\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)", re.DOTALL),
    # HTML: <a href="link"><img ...></a>
    re.compile(r"<a\s[^>]*?\bhref\s*=\s*[\"']?([^\s\"'<>]+).*", re.DOTALL | re.IGNORECASE),
    # reStructuredText: .. image:: picture, with :target: link below
    re.compile(r"\.\.\s.*?^\s*:target:\s*(\S+).*", re.DOTALL | re.MULTILINE),
    re.compile(r"`[^`<>]*<([^<>\s]+)>`_{1,2}"),
    # AsciiDoc: image:picture[alt, link=link], link:link[text]
    re.compile(r"image::?[^\s\[]*\[(?>.*?\blink=[\"']?([^\s\"',\]]+)).*\]", re.DOTALL),
    re.compile(r"link:([^\s\[]+)\[.*\]", re.DOTALL),
)
_VIEWERS = (
    (re.compile(r"https?://nbviewer\.(?:jupyter\.)?org/github/(.+)"), "https://github.com/"),
    (re.compile(r"https?://nbviewer\.(?:jupyter\.)?org/gist/(.+)"), "https://gist.github.com/"),
    (re.compile(r"https?://nbviewer\.(?:jupyter\.)?org/urls?/(.+)"), "https://"),
    (re.compile(r"https?://colab\.research\.google\.com/github/(.+)"), "https://github.com/"),
    (re.compile(r"https?://colab\.research\.google\.com/gist/(.+)"), "https://gist.github.com/"),
    (re.compile(r"https?://github\.dev/(.+)"), "https://github.com/"),
    (re.compile(r"https?://vscode\.dev/github/(.+)"), "https://github.com/"),
)


def unwrap_badge(text: str) -> str:
    """Return a badge's link, or the text unchanged."""
    for badge in _BADGES:
        if found := badge.fullmatch(text):
            return html.unescape(found[1])
    return text


def unwrap_viewer(url: str) -> str:
    """Return the URL that a viewer shows, or the URL unchanged."""
    for viewer, host in _VIEWERS:
        if found := viewer.fullmatch(url):
            return host + found[1]
    return url
