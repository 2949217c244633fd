"""The tutorial's commands and those of existing-hub.md work as they are copied.

Only addresses and the token are put in. What installs packages or starts the demo has tests of its
own in `tests/demo`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub_binder.demo.person import Person
from tests.kit.docs import DOCS, Block, command_blocks, copied
from tests.kit.live import LiveHub, start_hub, stop_hub

pytestmark = [
    pytest.mark.node,
    pytest.mark.slow,
    pytest.mark.timeout(500),
    pytest.mark.thorough,
]


def blocks(page: str, heading: str) -> str:
    """Return the commands below a heading, as the button copies them."""
    _, found, rest = (DOCS / page).read_text().partition(f"## {heading}\n")
    assert found, heading
    section: list[Block] = command_blocks(rest.partition("\n## ")[0], page)
    return "\n".join(copied(section))


def run(script: str, folder: Path, **replace: str) -> str:
    """Run commands in a shell that ends at the first one that fails."""
    for old, new in replace.items():
        script = script.replace(PLACES[old], new)
    done = subprocess.run(
        ["bash", "-eu"],
        input=script,
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


PLACES = {
    "tutorial_hub": "http://127.0.0.1:41705",
    "hub": "https://hub.example.org",
    "token": "TOKEN=...",
    "program": ".venv/bin/jupyterhub-binder",
    "repository": "https://github.com/binder-examples/requirements",
    "state": "/srv/jupyterhub/binder",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    live = start_hub(tmp_path_factory.mktemp("hub"), backend="venv")
    yield live
    stop_hub(live)


async def new_token(hub: LiveHub) -> str:
    async with Person(hub.url, hub.new_person(), "any") as person:
        return await person.make_token("for the docs")


def test_repository_of_the_tutorial_is_made(tmp_path: Path) -> None:
    said = run(blocks("tutorial/index.md", "Build a repository on this machine"), tmp_path)
    address = f"file://{tmp_path}/.demo/repositories/mine"
    assert address in said
    refs = subprocess.run(["git", "ls-remote", address], capture_output=True, text=True, check=True)
    assert "HEAD" in refs.stdout


async def test_command_line_of_the_tutorial_builds_launches_and_stops(
    hub: LiveHub, tmp_path: Path
) -> None:
    said = run(
        blocks("tutorial/index.md", "Do the same from the command line"),
        tmp_path,
        tutorial_hub=hub.url.rstrip("/"),
        token=f"TOKEN={await new_token(hub)}",
        program="jupyterhub-binder",
        repository=hub.make_repository("requirements"),
    )
    assert "Stopped: your server." in said


def test_doctor_of_existing_hub_looks_at_the_machine(tmp_path: Path) -> None:
    script = blocks("how-to/existing-hub.md", "Install")
    (line,) = [line for line in script.splitlines() if " doctor " in line]
    assert "versions" in run(line, tmp_path, state=str(tmp_path))


async def test_check_of_existing_hub_succeeds(hub: LiveHub, tmp_path: Path) -> None:
    said = run(
        blocks("how-to/existing-hub.md", "Check that it works"),
        tmp_path,
        hub=hub.url.rstrip("/"),
        token=f"TOKEN={await new_token(hub)}",
        repository=hub.make_repository("requirements"),
    )
    assert "PROBLEM" not in said
