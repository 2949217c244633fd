"""Trees that no path can name, for tests of what walks and removes."""

from __future__ import annotations

import os
from pathlib import Path


def nest(folder: Path, names: list[str]) -> None:
    """Make folders inside each other, as no path could name them."""
    here = os.open(folder, os.O_RDONLY)
    for name in names:
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
