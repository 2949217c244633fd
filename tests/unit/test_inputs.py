"""What a person wrote is made plain, or refused in words."""

import pytest

from jupyterhub_binder.errors import InvalidInput
from jupyterhub_binder.inputs import clean_name, clean_path, clean_server_name


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


@pytest.mark.parametrize("name", [".", " .. ", "x" * 256])
def test_a_server_is_not_called_what_leads_elsewhere_in_an_address(name):
    with pytest.raises(InvalidInput):
        clean_server_name(name)


def test_the_default_server_has_no_name():
    assert clean_server_name(" ") == ""
    assert clean_server_name("second") == "second"
