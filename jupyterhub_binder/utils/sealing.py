"""Secrets at rest: encrypted with keys that are in a file beside the database, not in it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from jupyterhub_binder.errors import ConfigurationError


class Sealer:
    """Encrypts with the first key of a file; decrypts with any of them."""

    def __init__(self, keys: MultiFernet) -> None:
        self._keys = keys

    def seal(self, secret: str) -> str:
        """Return a text that may be stored."""
        return self._keys.encrypt(secret.encode()).decode("ascii")

    def unseal(self, sealed: str) -> str | None:
        """Return the secret; None if no key of the file opens it."""
        try:
            return self._keys.decrypt(sealed.encode()).decode()
        except (InvalidToken, ValueError):
            return None

    @classmethod
    def ensure(cls, path: Path) -> Sealer:
        """Read the keys of a file, one in each line; make one if there is no file.

        Raises ConfigurationError.
        """
        try:
            if not path.exists():
                _make(path)
            lines = path.read_text("ascii").split()
            return cls(MultiFernet([Fernet(line) for line in lines]))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"The key that encrypts stored secrets, {path}, can't be read or made ({error}). "
                "Restore it from a backup, or remove it: a new one is made, and the secrets of "
                "webhooks must then be made anew."
            ) from error


def _make(path: Path) -> None:
    """Write a key, of mode 0600. The file appears whole, and of two that begin at once one wins."""
    number, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        Path(beside).unlink()
