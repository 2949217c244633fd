"""What a README says, as plain text and a picture, whatever is in it."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub_binder.model import Spec
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.mirror import Mirrors
from jupyterhub_binder.repositories.peeks import README
from jupyterhub_binder.repositories.pictures import MAX_BYTES, read_picture
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.readme import (
    MAX_CHARACTERS,
    find_paragraph,
    find_pictures,
    read_about,
)
from tests.kit.git_server import GitServer, Symlink
from tests.kit.pictures import png

SENTENCE = "Learn how the length of a day depends on the latitude."


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        f"# Daylight\n\n{SENTENCE}\n\nMore.",
        f"Daylight\n========\n\n{SENTENCE}",
        f"[![Binder](https://x.org/b.svg)](https://x.org) ![CI](ci.svg)\n\n{SENTENCE}",
        f'<p align="center"><img src="a.png"><b>Buy this now, good people</b></p>\n\n{SENTENCE}',
        f"[English](README.md) | [Deutsch](README.de.md)\n\n{SENTENCE}",
        f"> Quoted words of somebody else.\n\n- a list of several things\n\n{SENTENCE}",
        f"| a table | with words |\n|---|---|\n\n{SENTENCE}",
        f".. image:: https://x.org/badge.svg\n   :target: https://x.org\n\n{SENTENCE}",
        "Learn how the *length* of a [day](https://x.org/?a=1) depends\non the `latitude`.",
        "Learn how the length of a `day <https://x.org>`_ depends on the ``latitude``.",
        "Learn how the length of a <b onclick=alert(1)>day</b> depends on the latitude.",
        f"<!-- A comment that nobody should see -->\n\n{SENTENCE}",
    ],
)
def test_the_first_paragraph_that_says_something_is_plain_text(text: str) -> None:
    assert find_paragraph(text) == SENTENCE


def test_a_paragraph_is_bounded_and_has_no_hidden_characters() -> None:
    long = find_paragraph("Words and " * 200)
    assert len(long) <= MAX_CHARACTERS
    assert long.endswith(("Words…", "and…"))
    assert len(find_paragraph("x" * 5000)) == MAX_CHARACTERS
    assert find_paragraph("Some words \u202ereversed\u0007 and others") == (
        "Some words reversed and others"
    )
    assert find_paragraph("# Only a title\n\n![](a.png)") == ""
    assert find_paragraph("&lt;script&gt;alert(1)&lt;/script&gt; stays text") == (
        "<script>alert(1)</script> stays text"
    )


@pytest.mark.parametrize("part", ["[", "![", "*a ", "`a <"])
def test_no_readme_takes_long(tmp_path: Path, part: str) -> None:
    (tmp_path / "README.md").write_text(part * (2**17 // len(part)))
    began = time.process_time()
    read_about(tmp_path)
    find_pictures(tmp_path)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("docs/a.png", "docs/a.png"),
        ("./docs/a%20b.JPG?raw=true", "docs/a b.JPG"),
        ("/docs/a.webp", "docs/a.webp"),
        ("https://x.org/a.png", None),
        ("//x.org/a.png", None),
        ("data:image/png;base64,AAAA", None),
        ("docs/a.svg", None),
        ("../a.png", None),
        ("docs/../../a.png", None),
        (".git/a.png", None),
        ("C:\\a.png", None),
    ],
)
def test_a_picture_is_a_file_of_the_repository(
    tmp_path: Path, source: str, path: str | None
) -> None:
    (tmp_path / "readme.MD").write_text(f'# T\n\n<img alt="x" src="{source}">\n')
    assert find_pictures(tmp_path) == ({path} if path else set())


def test_a_wrong_declaration_in_html_ends_only_the_search_for_pictures(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        f'{SENTENCE}\n\n<div><img src="a.png">\n<![x[ y ]]></div>\n'
    )
    assert find_pictures(tmp_path) == {"a.png"}


def test_only_pictures_without_scripts_within_limits_are_given_out() -> None:
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08\x00\x10\x00\x20\x01\x01\x11\x00"
    webp = b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x1f\x00\x00\x0f\x00\x00"
    kinds = {
        "image/png": png(32, 16),
        "image/gif": b"GIF89a" + struct.pack("<HH", 32, 16),
        "image/jpeg": jpeg,
        "image/webp": webp,
    }
    for kind, data in kinds.items():
        assert (picture := read_picture(data)) is not None
        assert (picture.media_type, picture.data) == (kind, data)
    for data in (
        b"",
        b"<svg onload=alert(1)>",
        b"<!doctype html><script>alert(1)</script>",
        b"\x89PNG\r\n\x1a\n<script>",
        b"\xff\xd8\xff",
        png(30_000, 30_000, pixels=False),
        png(0, 1, pixels=False),
        png(32, 16) + bytes(MAX_BYTES),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    ):
        assert read_picture(data) is None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer.running(tmp_path_factory.mktemp("git")) as server:
        yield server


@pytest.mark.parametrize("mirrored", [False, True])
async def test_a_peek_brings_the_readme_and_its_picture_alone(
    server: GitServer, tmp_path: Path, mirrored: bool
) -> None:
    files = {
        "README.md": f"![](secret.png) ![](docs/lost.png) ![](docs/a.png)\n\n{SENTENCE}\n",
        "secret.png": Symlink("/etc/passwd"),
        "docs/a.png": png(32, 16),
        "docs/b.png": png(16, 16),
        "large.bin": b"x" * 1000,
    }
    repo = server.make_repo(f"about/{mirrored}", files)
    git = Git(protocols=["https", "http"], private_hosts=["127.0.0.1"])
    mirrors = Mirrors(git=git, root=str(tmp_path / "mirrors"))
    fetcher = Fetcher(git=git, mirrors=mirrors, watch_seconds=0.02, free_bytes=0)
    resolved = await Providers(git=git).resolve(Spec("git", repo.url, "main"), fresh=True)
    if mirrored:
        await fetcher.checkout(resolved, tmp_path / "checkout")
        assert mirrors.find(repo.url)
    async with fetcher.peek(resolved, README) as peek:
        paths = {path.name for path in peek.path.rglob("*") if ".git" not in path.parts}
        about = read_about(peek.path)
    assert "a.png" in paths
    assert not paths & {"b.png", "large.bin"}
    assert about.paragraph == SENTENCE
    assert about.picture == read_picture(png(32, 16))
