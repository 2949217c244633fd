"""What may stand in a log, and what may not."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jupyterhub_binder.utils.redact import _FORMS, _PLAIN, MARK, Redactor, find_secrets


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer s3cr3t-value",
        "authorization: token s3cr3t-value",
        "{'Authorization': 'Basic s3cr3t-value'}",
        "('Proxy-Authorization', 's3cr3t-value')",
        "GET /x?a=b&token=s3cr3t-value&c=d",
        "GET /x?_xsrf=s3cr3t-value HTTP/1.1",
        "next=%2Fx%3Ftoken%3Ds3cr3t-value",
        "next=%2Flaunch%3Fpath%3D%252Frstudio%253Ftoken%253Ds3cr3t-value",
        "Cookie: a=b; service-binder=s3cr3t-value",
        "X-XSRFToken: s3cr3t-value",
        "https://somebody:s3cr3t-value@git.example.org/x",
        "https://s3cr3t-value@git.example.org/x",
        "https://somebody:half@s3cr3t-value@git.example.org/x",
        "1.https://somebody:s3cr3t-value@git.example.org/x",
        "postgresql+psycopg://binder:s3cr3t-value@db/binder?x=y",
        "{'HubOAuth': {'api_token': 's3cr3t-value', 'x': 1}}",
        '{"password": "s3cr3t-value"}',
        "connection to host=db user=me password=s3cr3t-value failed",
        "build_token=s3cr3t-value",
        "oauth state argument 's3cr3t-value' != cookie service-binder-oauth-state=None",
        "X-Dataverse-key: s3cr3t-value",
        "oauth_callback?code=s3cr3t-value&state=x",
    ],
)
def test_a_secret_is_known_by_its_form(text):
    redacted = Redactor().redact(text)
    assert "s3cr3t-value" not in redacted
    assert MARK in redacted


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1" * 18,
        "ghs_123456_eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.x-Y_z",
        "glpat-" + "b2" * 10,
        "glpat-" + "b2" * 10 + ".01.0a1b2c3d4",
        "gldt-" + "b2" * 10,
        "gloas-" + "b2" * 16,
        "hf_" + "Ab" * 17,
        "dckr_pat_" + "Ab-" * 9,
        "pypi-AgEIcHlwaS5vcmc" + "Ab" * 20,
        "eyJhbGciOiJI.eyJzdWIi.x-Y",
    ],
)
def test_a_token_is_known_by_its_beginning(token):
    assert Redactor().redact(f"git said {token}!") == f"git said {MARK}!"


@pytest.mark.parametrize(
    "text",
    [
        "Build abc begins: github.com/org/repo",
        "200 GET /services/binder/environments/x user=ada ms=1.2 request=0123456789abcdef",
        "The token is missing or old. Reload the page; programs send a token in the header.",
        "https://github.com/org/repo could not be read. Try again later.",
        "Fetching github.com/org/tokens at main",
        "Fetching github.com/org/global-temperature-analysis at main",
        "mail to somebody@example.org",
    ],
)
def test_what_is_no_secret_stays(text):
    assert Redactor(["another"]).redact(text) == text


@pytest.mark.parametrize(
    "part",
    [
        "token.",
        "token",
        "x-key-",
        "a.",
        "eyJ-",
        "eyJaaaaaaaaa.aaaa",
        "x://",
        "http://u@",
        "cookie ",
    ],
)
def test_no_text_takes_long(part):
    # Asked for by anybody: it stands in the log, and what writes that is what answers people.
    begun = time.process_time()
    Redactor().redact(f"404 GET /{part * (60_000 // len(part))} ")
    assert time.process_time() - begun < 2


_NEARLY = st.sampled_from(["eyJ", "glpat-", "token", "basic", "://", ".", "-", "/", "a1B2c3D4e5"])


@given(st.from_regex(_PLAIN, fullmatch=True) | st.lists(_NEARLY).map("".join))
@example("eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.x")
@example("glpat-aaaaaaaaaaaaaaaaaaaa")
def test_what_is_passed_over_at_once_fits_no_form(text):
    if _PLAIN.fullmatch(text):
        assert not any(form.search(text) for form in _FORMS)


def test_a_secret_is_known_by_its_value_however_it_is_written():
    redactor = Redactor(["pa ss/wörd", "abc"])
    assert redactor.redact("x pa ss/wörd y pa%20ss%2Fw%C3%B6rd z abc") == f"x {MARK} y {MARK} z abc"


def test_secrets_are_found_in_settings():
    settings = {
        "HubOAuth": {"api_token": "one-secret", "api_url": "http://hub/api"},
        "Git": {"proxy": "http://me:two%20secret@proxy:1"},
        "RemoteBackend": {"build_token_secret": b"three-secret", "members": [{"token": "four"}]},
        "JupyterHubBinder": {"database_url": "postgresql://u@host/name", "port": 1},
        "token_file": "/etc/token",
        "Provider": {"tokens": {"git.example.org:8443": "five-secret"}},
    }
    assert set(find_secrets(settings)) == {
        "one-secret",
        "two%20secret",
        "two secret",
        "three-secret",
        "four",
        "five-secret",
    }
