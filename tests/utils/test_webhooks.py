"""Webhooks' signatures, against values that other programs computed."""

import base64
import subprocess

import pytest

from jupyterhub_binder.utils.webhooks import Sender, SignatureCheck, new_secret

SECRET = "It's a Secret to Everybody"
BODY = b"Hello, World!"
OF_DOCS = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
"""GitHub's documentation gives this for the secret and the body."""

WHSEC = "whsec_dGhpcnR5LXR3byBieXRlcyBvZiBhIHNlY3JldCBrZXk="
"""The bytes `thirty-two bytes of a secret key`."""
SENT = 1_790_000_000


class AnyCase(dict[str, str]):
    """Headers, as tornado finds them."""

    def __init__(self, **headers: str) -> None:
        super().__init__({name.replace("_", "-").lower(): each for name, each in headers.items()})

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        return super().get(name.lower(), default)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())


def check(sender: Sender, headers: AnyCase, secret: str = SECRET, body: bytes = BODY, **kwargs):
    found = SignatureCheck(sender, headers, secret, **kwargs)
    for index in range(len(body)):
        found.update(body[index : index + 1])
    return found


def openssl(body: bytes, *options: str) -> bytes:
    command = ["openssl", "dgst", "-sha256", *options, "-binary"]
    return subprocess.run(command, input=body, capture_output=True, check=True).stdout


def test_the_signature_of_githubs_documentation_is_valid():
    headers = AnyCase(X_Hub_Signature_256=f"sha256={OF_DOCS}", X_GitHub_Delivery="72d3162e")
    found = check(Sender.GITHUB, headers)
    assert found.is_valid()
    assert found.delivery_id == "72d3162e"


def test_openssl_signs_alike():
    assert openssl(BODY, "-hmac", SECRET).hex() == OF_DOCS


@pytest.mark.parametrize(
    "given",
    ["", "sha256=", OF_DOCS[:-1], f"sha1={OF_DOCS}", "sha256=" + "0" * 64, "sha256=é" + OF_DOCS],
)
def test_any_other_signature_is_not(given: str):
    assert not check(Sender.GITHUB, AnyCase(X_Hub_Signature_256=given)).is_valid()


def test_another_body_or_secret_is_not():
    headers = AnyCase(X_Hub_Signature_256=f"sha256={OF_DOCS}")
    assert not check(Sender.GITHUB, headers, body=BODY + b"\n").is_valid()
    assert not check(Sender.GITHUB, headers, secret="another").is_valid()
    assert not check(Sender.GITHUB, headers, secret="").is_valid()
    assert not check(Sender.GITLAB, AnyCase(X_Gitlab_Token=""), secret="").is_valid()


@pytest.mark.parametrize("name", ["X_Gitea_Signature", "X_Forgejo_Signature", "X_Gogs_Signature"])
def test_gitea_and_its_kin_send_the_digits_alone(name: str):
    found = check(Sender.GITEA, AnyCase(**{name: OF_DOCS}, X_Gitea_Delivery="f6266f16"))
    assert found.is_valid()
    assert found.delivery_id == "f6266f16"


def test_gitlab_sends_its_secret_token_as_it_is():
    headers = AnyCase(X_Gitlab_Token=SECRET, X_Gitlab_Event_UUID="13792a34")
    found = check(Sender.GITLAB, headers)
    assert found.is_valid()
    assert found.delivery_id == "13792a34"
    assert not check(Sender.GITLAB, AnyCase(X_Gitlab_Token=SECRET + "x")).is_valid()


def standard(signature: str) -> AnyCase:
    return AnyCase(webhook_id="msg_1", webhook_timestamp=str(SENT), webhook_signature=signature)


SIGNED = "v1,di4SqWuM6IwqsEhh3KdcULczp9jOqbKW+AHacTsBpDc="
"""By `openssl dgst -mac hmac` over ``msg_1.1790000000.Hello, World!``."""


@pytest.mark.parametrize("sender", [Sender.GITLAB, Sender.STANDARD])
def test_a_signing_token_signs_id_time_and_body(sender: Sender):
    found = check(sender, standard(f"v1,AAAA {SIGNED}"), WHSEC, now=SENT + 10)
    assert found.is_valid()
    assert found.delivery_id == "msg_1"
    assert not check(sender, standard("v1,AAAA v2,x"), WHSEC, now=SENT).is_valid()
    assert not check(sender, standard(SIGNED), WHSEC, body=b"Hello", now=SENT).is_valid()


@pytest.mark.parametrize("seconds", [-301, 301, 86_400])
def test_an_old_signature_is_sent_again_by_somebody_else(seconds: int):
    assert not check(Sender.STANDARD, standard(SIGNED), WHSEC, now=SENT + seconds).is_valid()


def test_a_time_beyond_all_clocks_is_refused():
    headers = standard(SIGNED)
    headers["webhook-timestamp"] = "9" * 400
    assert not check(Sender.STANDARD, headers, WHSEC, now=SENT).is_valid()


def test_a_signature_with_a_time_is_openssls():
    key = b"thirty-two bytes of a secret key".hex()
    signed = openssl(
        f"msg_1.{SENT}.Hello, World!".encode(), "-mac", "hmac", "-macopt", f"hexkey:{key}"
    )
    assert f"v1,{base64.b64encode(signed).decode()}" == SIGNED


def test_a_delivery_without_a_name_is_named_by_its_body():
    one, same = (check(Sender.GITHUB, AnyCase()) for _ in range(2))
    other = check(Sender.GITHUB, AnyCase(), body=b"other")
    assert one.delivery_id == same.delivery_id != other.delivery_id


def test_our_secrets_have_the_form_that_gitlab_wants():
    secrets = {new_secret() for _ in range(10)}
    assert len(secrets) == 10
    for secret in secrets:
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
