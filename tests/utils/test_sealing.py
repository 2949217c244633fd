"""Secrets at rest, and the replacement of their key."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.utils.sealing import Sealer


def test_the_key_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    before = Sealer.ensure(path).seal("a secret")
    old = path.read_text()
    path.write_text(f"{Fernet.generate_key().decode()}\n{old}")
    both = Sealer.ensure(path)
    assert both.unseal(before) == "a secret"
    after = both.seal("a secret")
    path.write_text(path.read_text().removesuffix(old))
    new = Sealer.ensure(path)
    assert (new.unseal(before), new.unseal(after)) == (None, "a secret")


def test_a_file_that_holds_no_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    path.write_text("not a key\n")
    with pytest.raises(ConfigurationError, match=r"secrets\.key"):
        Sealer.ensure(path)
