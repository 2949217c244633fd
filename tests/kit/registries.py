"""A real registry for tests: Debian's `docker-registry`, on 127.0.0.1, in a folder of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

USER, PASSWORD = "binder", "correct horse"


@dataclass(frozen=True, slots=True)
class RunningRegistry:
    host: str
    docker_config: Path
    """A folder with the credentials, as `docker login` leaves them."""

    def wrong_config(self, folder: Path) -> Path:
        return write_docker_config(folder, self.host, USER, "wrong")


def write_docker_config(folder: Path, host: str, user: str, password: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return folder


@contextlib.contextmanager
def run_registry(
    folder: Path, *, password: bool = False, delete: bool = True
) -> Iterator[RunningRegistry]:
    """Run a registry, with a password if one is wanted; its data goes with the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "data")},
            "delete": {"enabled": delete},
        },
        "http": {"addr": host},
    }
    if password:
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(_htpasswd(folder))}}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    command = [_find("docker-registry"), "serve", str(folder / "config.yml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(host, process)
        login = write_docker_config(folder / "docker", host, USER, PASSWORD)
        yield RunningRegistry(host, login)
    finally:
        process.terminate()
        process.wait(10)


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"needs {program} (Debian: docker-registry apache2-utils)")
    return path


def _htpasswd(folder: Path) -> Path:
    path = folder / "htpasswd"
    words = [_find("htpasswd"), "-Bbn", USER, PASSWORD]
    path.write_bytes(subprocess.run(words, capture_output=True, check=True).stdout)
    return path


def _wait_for(host: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=2).close()
        except urllib.error.HTTPError:
            return  # it wants a password: it is there
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("docker-registry does not start")
