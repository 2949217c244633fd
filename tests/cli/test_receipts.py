"""The command that says whether a receipt is valid."""

import json

import pytest
from click.testing import CliRunner

from jupyterhub_binder.cli import main
from jupyterhub_binder.utils.signing import SigningKey


@pytest.fixture
def key(tmp_path):
    return SigningKey.ensure(tmp_path / "receipt.key")


@pytest.fixture
def file(tmp_path, key):
    receipt = {"version": 1, "repository": {"commit": "0" * 40}}
    named = {"algorithm": "Ed25519", "id": key.public.id, "public_key": key.public.text}
    path = tmp_path / "environment.json"
    path.write_text(json.dumps({"receipt": receipt, "key": named, "signature": key.sign(receipt)}))
    return path


def verify(*arguments):
    return CliRunner().invoke(main, ["verify", *map(str, arguments)])


def test_a_receipt_is_valid_by_the_key_that_is_expected(file, key):
    done = verify(file, "--key", key.public.text)
    assert (done.exit_code, done.output) == (0, f"Valid: signed with key {key.public.id}.\n")


def test_a_receipt_by_its_own_key_is_valid_with_a_warning(file):
    done = verify(file)
    assert done.exit_code == 0
    assert "names this key itself" in done.output


def test_another_key_and_a_changed_receipt_are_not_valid(file, tmp_path):
    other = tmp_path / "key.txt"
    other.write_text(SigningKey.ensure(tmp_path / "other.key").public.text)
    done = verify(file, "--key", other)
    assert (done.exit_code, "Not valid: it was signed with" in done.output) == (1, True)
    file.write_text(file.read_text().replace("000", "111"))
    done = verify(file, "--json")
    assert (done.exit_code, json.loads(done.output)["valid"]) == (1, False)


@pytest.mark.parametrize("text", ["", "no json", "{}", "[" * 100_000])
def test_what_is_no_receipt_is_an_error_in_words(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    done = verify(path)
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
