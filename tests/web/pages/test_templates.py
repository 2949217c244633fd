"""What the pages say of times, sizes and hostile text, and the frames that they stand in."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from jupyterhub_binder.utils.share import share_folder
from jupyterhub_binder.web.pages.templates import (
    about,
    ago,
    clock,
    hub_template_folders,
    make_templates,
    plain,
    short,
    size,
    static_version,
    visible,
)
from jupyterhub_binder.web.pages.views import queue_words, server_link

NOW = datetime(2026, 5, 14, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(seconds=50), "1 minute ago"),
        (timedelta(minutes=50), "50 minutes ago"),
        (timedelta(minutes=60), "1 hour ago"),
        (timedelta(hours=20), "20 hours ago"),
        (timedelta(days=5), "5 days ago"),
        (timedelta(days=20), "3 weeks ago"),
        (timedelta(days=60), "15 Mar 2026"),
    ],
)
def test_times_are_said_as_people_do(passed: timedelta, words: str):
    assert ago(NOW - passed, NOW) == words


def test_durations_and_sizes_are_short():
    assert [clock(s) for s in (None, 0, 84.9, 3723)] == ["", "0:00", "1:24", "1:02:03"]
    assert [about(s) for s in (None, 2, 82.4)] == ["", "about 0:02", "about 1:22"]
    assert [size(n) for n in (None, 0, 999, 1_204_000_000)] == [
        "",
        "0 bytes",
        "999 bytes",
        "1.2 GB",
    ]
    assert short("a" * 40) == "aaaaaaa"
    assert short("spring/2026") == "spring/2026"


def test_hostile_text_is_escaped_isolated_and_made_visible():
    shown = str(visible("<b>\u202egnp.exe\x00"))
    assert shown.startswith("<bdi>&lt;b&gt;")
    assert "\u202e" not in shown
    assert "\x00" not in shown
    assert "U+202E" in shown


def test_terminal_codes_are_taken_out_of_plain_lines():
    assert plain("\x1b[1;31mred\x1b[0m \x1b]0;title\x07done\r") == "red done"


@pytest.mark.parametrize(
    "url",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:x",
        "",
        None,
        "/a\nb",
    ],
)
def test_server_address_elsewhere_is_no_address(url: str | None):
    assert server_link(url) is None


def test_server_address_here_is_kept():
    assert server_link("/user/ada/lab/tree/x") == "/user/ada/lab/tree/x"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ada.hub.example.org/user/ada/", True),
        ("https://hub.example.org/user/ada/", True),
        ("/user/ada/", True),
        ("http://ada.hub.example.org/user/ada/", False),
        ("https://evil.example/hub.example.org", False),
        ("https://evilhub.example.org/", False),
        ("https://ada.hub.example.org@evil.example/", False),
        ("https://evil.example\\.hub.example.org/", False),
        ("//ada.hub.example.org/", False),
    ],
)
def test_server_on_the_hubs_domain_is_kept(url: str, kept: bool):
    assert server_link(url, "https://hub.example.org") == (url if kept else None)


def test_place_in_the_queue_counts_from_one():
    assert queue_words(1) == "next in the queue"
    assert queue_words(3) == "number 3 in the queue"


def test_pages_extend_the_hubs_frame_with_a_nonce_on_every_script():
    templates = make_templates()
    assert templates.globals["layout"] == "page.html"
    source = templates.loader.get_source(templates, "page.html")[0]  # type: ignore[union-attr]
    assert source.count("<script") == source.count('nonce="{{ csp_nonce }}"')
    assert "noscript" not in source


@pytest.mark.parametrize("foreign", [None, "<html>{% block main %}{% endblock %}</html>", "{% if"])
def test_pages_stand_on_their_own_where_the_hubs_frame_does_not_fit(foreign, tmp_path):
    if foreign is not None:
        (tmp_path / "page.html").write_text(foreign)
    templates = make_templates(hub_templates=[tmp_path])
    assert templates.globals["layout"] == "binder/frame.html"
    page = templates.get_template("binder/error.html").render(
        headline="Not found",
        message="<script>",
        binder={"prefix": "/b/", "static": "/s/"},
        static_url=lambda path: f"/hub/static/{path}",
    )
    assert "&lt;script&gt;" in page
    assert "Not found" in page


def test_an_admins_template_comes_before_the_hubs(tmp_path):
    (tmp_path / "page.html").write_text(
        '{% extends "templates/page.html" %}{% block logo %}Ours{% endblock %}'
    )
    templates = make_templates([tmp_path])
    page = templates.get_template("binder/error.html").render(
        headline="x", binder={}, static_url=lambda path, **_: path
    )
    assert "Ours" in page
    assert hub_template_folders()


def test_every_field_takes_as_many_characters_as_its_reader():
    max_length = make_templates().globals["max_length"]
    for template in (share_folder() / "templates").rglob("*.html"):
        for limit in re.findall(r'maxlength="([^"]*)"', template.read_text()):
            name = re.fullmatch(r"\{\{ max_length\.(\w+) \}\}", limit)
            assert name, f"{template.name} has a limit of its own: {limit}"
            assert name[1] in max_length, template.name


def test_version_of_static_files_changes_with_any_of_them(tmp_path):
    (tmp_path / "a.js").write_text("1")
    before = static_version(tmp_path)
    (tmp_path / "a.js").write_text("2")
    assert static_version(tmp_path) != before
    assert (share_folder() / "static" / "binder.css").is_file()
