"""Runs inside the sandbox: compiles all Python files below a folder to bytecode.

Standard library only, and no import of this package: it is run as a file, by any Python. It does
what `python -m compileall -j 0` does, without a queue between processes, which costs a third more.
Usage: ``python compile_inside.py FOLDER``
"""

from __future__ import annotations

import os
import py_compile
import sys


def main(folder: str) -> None:
    """Share the files among as many processes as may run at once; wait for all of them."""
    found = (
        os.path.join(here, name)  # noqa: PTH118 - many
        for here, _, names in os.walk(folder)
        for name in names
        if name.endswith(".py")
    )
    # Reading what is none, a pipe or a device, may never end.
    files = sorted(path for path in found if os.path.isfile(path))  # noqa: PTH113 - many
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    children = []
    for first in range(workers):
        child = os.fork()
        if child == 0:
            _compile(files[first::workers])
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def _compile(files: list[str]) -> None:
    for path in files:
        try:
            py_compile.compile(path, doraise=True)
        except Exception:  # noqa: BLE001, S112 - packages hold files for other versions of Python
            continue


if __name__ == "__main__":
    main(sys.argv[1])
