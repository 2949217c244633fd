"""A Podman of the tests' own: its images, containers and settings are in one temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.kit.engine import BASE_IMAGE, CERTIFICATES, ensure_base, find_missing, unmount_below

_CONFIG = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_STORAGE = """[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""


def find_podman() -> str | None:
    """Return Podman's path, if a Podman of the tests' own can be had."""
    return shutil.which("podman") if find_missing() is None else None


@contextlib.contextmanager
def podman_settings() -> Iterator[dict[str, str]]:
    """Give the variables that lead to a Podman that has the base image."""
    base = ensure_base()
    folder = Path(tempfile.mkdtemp(prefix="binder-podman-", dir="/tmp"))
    try:
        (folder / "containers.conf").write_text(_CONFIG)
        (folder / "storage.conf").write_text(_STORAGE.format(folder=folder))
        variables = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }
        changes = [f"--change=ENV {name}={CERTIFICATES}" for name in ("SSL_CERT_FILE", "PIP_CERT")]
        command = ["podman", "import", *changes, str(base), BASE_IMAGE]
        subprocess.run(command, env={**os.environ, **variables}, check=True, capture_output=True)
        yield variables
    finally:
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)
