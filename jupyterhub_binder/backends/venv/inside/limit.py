"""Runs a command with limits that Kubernetes can't give to a pod.

Any Python runs it as a file: standard library only. A limit of 0 is none. Usage: ``python limit.py
PROCESSES FILE_BYTES COMMAND...``
"""

from __future__ import annotations

import os
import resource
import sys


def main() -> None:
    """Set the limits and become the command."""
    processes, file_bytes, *command = sys.argv[1:]
    for kind, value in (
        (resource.RLIMIT_NPROC, int(processes)),
        (resource.RLIMIT_FSIZE, int(file_bytes)),
    ):
        if value:
            highest = resource.getrlimit(kind)[1]
            value = value if highest == resource.RLIM_INFINITY else min(value, highest)
            resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(1, 2)  # one stream keeps the order of lines
    try:
        os.execvp(command[0], command)  # noqa: S606 - the command comes in parts
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
