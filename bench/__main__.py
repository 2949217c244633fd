"""`python -m bench [NAME ...]`: measure; one JSON line a figure, with its goal beside it.

These are benchmarks, not tests: compare figures of one run, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib

from bench.figures import show_machine

NAMES = {
    "idle": "memory and start of the service",
    "environments": "environments of what is built already; a list of 10,000",
    "watchers": "20,000 lines to 50 and 200 watchers, and a slow one among them",
    "keep": "an environment of a known recipe, from the request to ready",
    "shared": "a list of 5,000 environments, half of them shared, with newer commits",
    "upstream": "a thousand followers of one repository, and a look at 50 environments",
    "people": "400 people at once; watched builds, open streams, cancelled builds",
    "usage": "the usage page and the report of 784,881 and of 2 million sessions",
    "launches": "a launch over the hub's bare spawn; launches taken in and counted",
    "venv": "a build of the venv backend over bare uv",
    "repo2docker": "seconds of a repo2docker build over the bare command",
    "cluster": "from a pasted link to JupyterLab on a cluster, by phase: folders and images",
    "binderhub": "delay and memory of the BinderHub backend",
}


def main() -> None:
    """Run what is asked for, or everything."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {name:13} {what}" for name, what in NAMES.items()),
    )
    parser.add_argument("name", nargs="*", choices=[[], *NAMES], metavar="NAME")  # type: ignore[arg-type]
    chosen = parser.parse_args().name or list(NAMES)
    show_machine()
    for name in chosen:
        asyncio.run(importlib.import_module(f"bench.{name}").measure())


if __name__ == "__main__":
    main()
