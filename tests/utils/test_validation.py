"""What a person wrote is made plain, or refused in words."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.utils.validation import (
    clean_address,
    clean_name,
    clean_path,
    clean_server_name,
    split_address,
)


@pytest.mark.parametrize("name", ["", " \n\t", "\u202e", "x" * 201])
def test_bad_names_are_refused(name):
    with pytest.raises(InvalidInput):
        clean_name(name)


def test_names_lose_what_would_mislead():
    assert clean_name("a\x00b\u202ec\ud800d") == "a b c d"
    assert clean_name("Überblick 📊") == "Überblick 📊"


@pytest.mark.parametrize("path", ["../x", "a/../../b", "a\\b", "a/\x00", "x" * 1001])
def test_paths_out_of_the_repository_are_refused(path):
    with pytest.raises(InvalidInput):
        clean_path(path)


def test_paths_are_made_plain():
    assert clean_path("./a//b/") == "a/b"
    assert clean_path("/") == ""


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/rstudio", "/rstudio"),
        (" /proxy/8501/ ", "/proxy/8501/"),
        ("/proxy/example.org:8080/x", "/proxy/example.org:8080/x"),
        (
            "/voila/render/my notebook.ipynb?theme=dark",
            "/voila/render/my%20notebook.ipynb?theme=dark",
        ),
        ("/voila/render/grün.ipynb", "/voila/render/gr%C3%BCn.ipynb"),
        ("/shiny/app?next=https://a.example/", "/shiny/app?next=https://a.example/"),
    ],
)
def test_what_begins_with_a_slash_is_an_address_of_the_server(text, address):
    assert clean_path(text) == address


@pytest.mark.parametrize(
    "address",
    [
        *("//evil.example", "/%2Fevil.example", "/%252F%252Fevil.example", "/\\evil.example"),
        *("/..;/..;/hub/logout", "/a/%2e%2e%3Bx/b", "/a/..%253B/b"),
        *("/%5Cevil.example", "/a/%255c%255cevil.example", "/https:%2F%2Fevil.example"),
        *("/javascript:alert(1)", "/%6Aavascript:alert(1)", "/%20javascript:alert(1)"),
        *("/../hub/logout", "/a/..", "/a/%2e%2e/b", "/%252e%252e%252fhub", "/a/./b", "/.%2e/x"),
        *("/a\nb", "/a%0D%0ALocation:x", "/a%00", "/\u202eb", "/\ud800", "/" + "x" * 1000),
        *("/" + "ü" * 300, "/%25252525252525252f"),
    ],
)
def test_an_address_elsewhere_is_refused(address):
    with pytest.raises(InvalidInput, match=r"on the server|inside the repository"):
        clean_path(address)


@given(st.text(max_size=30) | st.text("/.%25cf\\:?#ab", max_size=12).map("/{}".format))
@example("/a?..")
def test_what_opens_is_plain_once_and_for_all_or_refused(text):
    try:
        path = clean_path(text)
    except InvalidInput:
        return
    assert clean_path(path) == path
    assert not path.startswith(("//", "/\\"))
    assert "".join(split_address(path)) == path


def test_an_address_of_a_file_is_told_from_others():
    assert split_address("/voila/render/a/b.ipynb?x=1#y") == (
        "/voila/render/",
        "a/b.ipynb",
        "?x=1#y",
    )
    assert split_address("/retro/notebooks/a") == ("/retro/notebooks/", "a", "")
    assert split_address("/proxy/8501/tree/a") == ("/proxy/8501/tree/a", "", "")
    assert split_address(clean_address("/rstudio")) == ("/rstudio", "", "")


@pytest.mark.parametrize("name", [".", " .. ", "x" * 256])
def test_a_server_is_not_called_what_leads_elsewhere_in_an_address(name):
    with pytest.raises(InvalidInput):
        clean_server_name(name)


def test_the_default_server_has_no_name():
    assert clean_server_name(" ") == ""
    assert clean_server_name("second") == "second"
