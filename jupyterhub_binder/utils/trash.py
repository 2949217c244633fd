"""A folder for untrusted trees that are being removed.

Each is renamed into it first, which takes no time, so that its old place is free at once.
"""

from __future__ import annotations

import logging
import stat
import threading
from pathlib import Path

from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.trees import try_to_remove

_log = logging.getLogger(__name__)


class Trash:
    """Removes files and trees of its folder's file system. All methods block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remove(self, path: Path) -> None:
        """Take and remove. Idempotent."""
        _remove(*self.take(path))

    def take(self, path: Path) -> tuple[Path, ...]:
        """Rename into the trash; return the new path, if there was anything. Raises OSError."""
        try:
            is_folder = stat.S_ISDIR(path.lstat().st_mode)
        except FileNotFoundError:
            return ()
        if is_folder:
            # A folder without write permission cannot be moved by other than root.
            path.chmod(0o700)
        # Somebody may have emptied the service's folders by hand.
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside = self.folder / new_id()
        path.rename(aside)
        return (aside,)

    def empty_later(self) -> None:
        """Remove all that is in it now, in a thread that the end of the process does not await.

        What cannot be removed stays for the next time.
        """
        left = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        threading.Thread(target=_remove, args=left, name="trash", daemon=True).start()


def _remove(*paths: Path) -> None:
    for path in paths:
        if error := try_to_remove(path):
            _log.warning("Can't remove %s: %s", path, error)
