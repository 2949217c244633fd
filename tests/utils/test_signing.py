import json
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from jupyterhub_binder.errors import ConfigurationError, InvalidInput
from jupyterhub_binder.utils.signing import PublicKey, SigningKey, canonical


@pytest.fixture
def key(tmp_path):
    return SigningKey.ensure(tmp_path / "receipt.key")


def test_the_order_of_keys_and_blanks_change_no_canonical_bytes():
    assert canonical(json.loads('{"b": 1,  "a": "ü"}')) == '{"a":"ü","b":1}'.encode()


def test_only_the_key_itself_and_only_what_was_signed_is_valid(key, tmp_path):
    signature = key.sign({"a": 1})
    assert key.public.verify({"a": 1}, signature)
    assert not key.public.verify({"a": 2}, signature)
    assert not key.public.verify({"a": 1}, signature[:-4] + "AAA=")
    other = SigningKey.ensure(tmp_path / "other.key")
    assert not other.public.verify({"a": 1}, signature)


@pytest.mark.parametrize("signature", ["", "no base64", "AAAA", "ä"])
def test_what_is_no_signature_is_not_valid(key, signature):
    assert not key.public.verify({}, signature)


def test_what_no_json_can_hold_is_not_valid(key):
    assert not key.public.verify({"a": float("nan")}, key.sign({}))
    assert not key.public.verify({"a": "\ud800"}, key.sign({}))


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path):
    path = tmp_path / "receipt.key"
    first = SigningKey.ensure(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.ensure(path).public == first.public
    assert list(tmp_path.iterdir()) == [path]


def test_of_many_that_begin_at_once_one_key_wins(tmp_path):
    path = tmp_path / "receipt.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: SigningKey.ensure(path).public, range(8)))
    assert keys == {SigningKey.ensure(path).public}


@pytest.mark.parametrize("text", ["", "not hex", "00ff"])
def test_a_damaged_key_is_told_and_not_replaced(tmp_path, text):
    path = tmp_path / "receipt.key"
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        SigningKey.ensure(path)
    assert path.read_text() == text


def test_a_public_key_is_read_as_it_is_written(key):
    assert PublicKey.from_text(f" {key.public.text}\n") == key.public
    for text in ("", "AAAA", "?"):
        with pytest.raises(InvalidInput):
            PublicKey.from_text(text)
