"""Finds the templates and static files, which are not in the package's own folder."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import jupyterhub_binder
from jupyterhub_binder.errors import ConfigurationError

_SHARE = "share/jupyterhub-binder"


def share_folder() -> Path:
    """Return their folder, in a checkout or where the installer recorded it.

    The prefix of the interpreter doesn't say: Debian's Python installs below /usr/local. Raises
    ConfigurationError if they are not there.
    """
    beside = Path(jupyterhub_binder.__file__).resolve().parent.parent / _SHARE
    if beside.is_dir():
        return beside
    with suppress(PackageNotFoundError):
        for file in files("jupyterhub-binder") or ():
            if file.as_posix().endswith(f"{_SHARE}/templates/base.html"):
                folder = Path(str(file.locate())).resolve().parent.parent
                if folder.is_dir():
                    return folder
    raise ConfigurationError(
        f"The folder {_SHARE} of jupyterhub-binder is missing, which has its templates. Install the "
        "package again with pip."
    )
