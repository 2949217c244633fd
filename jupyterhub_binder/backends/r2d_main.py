"""repo2docker's process: loads it, then waits for one line that says what to do.

To load it takes half a second of a small build's four, so the process is begun while the
repository is fetched. The line is a JSON list of `jupyter-repo2docker`'s arguments; where none
comes, it ends without a word.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable


def main() -> None:
    """Load repo2docker and what its configuration will name; wait, and run it as told."""
    gc.disable()  # it lives for one build
    from repo2docker.__main__ import main as build

    from jupyterhub_binder.backends import r2d_buildpack, r2d_engine  # noqa: F401

    line = sys.stdin.readline()
    if not line:
        return
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    sys.argv = ["jupyter-repo2docker", *json.loads(line)]
    status = _run(build)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # nothing is left that would have to be taken apart


def _run(command: Callable[[], None]) -> int:
    """Run a command; return what its exit status would be."""
    try:
        command()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")  # as Python does
        return 1
    return 0


if __name__ == "__main__":
    main()
