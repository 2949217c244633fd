"""Which package indexes uv really asks for a stranger's line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from uv import find_uv_bin

from jupyterhub_binder.backends.venv.requirements import Policy, choose_lines
from jupyterhub_binder.backends.venv.uv import Uv
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.jobs import make_checkout


@pytest.mark.parametrize(
    "value",
    [
        "{allowed}",
        "{allowed} {forbidden}",
        "{allowed}\t{forbidden}",
        "{allowed},{forbidden}",
        "{allowed};{forbidden}",
        "{allowed}/../forbidden/",
        "{allowed}/%2e%2e/forbidden/",
        "{allowed}\\..\\forbidden\\",
        "{allowed}/x#{forbidden}",
    ],
)
def test_uv_asks_no_index_but_the_allowed_one(value, recording_server, tmp_path):
    allowed, forbidden = (f"{recording_server.url}/{name}" for name in ("allowed", "forbidden"))
    line = "--extra-index-url " + value.format(allowed=allowed, forbidden=forbidden)
    policy = Policy(index_urls=(allowed,))
    recipe = read_recipe(make_checkout(tmp_path / "checkout", {"requirements.txt": line}))
    found = choose_lines(recipe.requirements, policy)
    given, limits, lock = (tmp_path / name for name in ("given.txt", "limits.txt", "lock.txt"))
    given.write_text("a-package-that-is-nowhere\n")
    limits.write_text("")
    command = Uv(Path(find_uv_bin()), Path(sys.prefix)).resolve(
        found, given=given, limits=limits, lock=lock, build=False
    )
    index = f"{recording_server.url}/default"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "UV_DEFAULT_INDEX": index}
    subprocess.run(command, env={**environment, "UV_CACHE_DIR": str(tmp_path)}, timeout=60)
    asked = {path.split("/")[1] for path in recording_server.paths}
    assert "default" in asked
    assert asked <= {"default", "allowed"}
    assert ("allowed" in asked) is bool(found.indexes)


@dataclass
class RecordingServer:
    """An index that has nothing, and remembers what was asked for."""

    url: str
    paths: list[str] = field(default_factory=list)


@pytest.fixture
def recording_server() -> Iterator[RecordingServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            recorded.paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        recorded = RecordingServer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield recorded
        server.shutdown()
        thread.join()
