"""Docker's buildx plugin, which most machines build with, for the tests to build with too.

Where Docker's program lacks it and the machine is a Debian whose release has no package of it, the
package of the release after it is unpacked: the plugin is one program that needs nothing else. It
is kept in the user's cache, and only a folder for `DOCKER_CONFIG` leads to it.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.kit.engine import check, find_mirror, get_cache

_RELEASE = "trixie"
_PACKAGE = "docker-buildx"
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def find_config() -> str:
    """Return a folder for `DOCKER_CONFIG` that has buildx; empty where Docker has it already."""
    if subprocess.run(["docker", "buildx", "version"], capture_output=True).returncode == 0:
        return ""
    mirror = find_mirror()
    if not mirror or not shutil.which("dpkg-deb"):
        pytest.skip("needs Docker's buildx plugin (Debian: docker-buildx)")
    config = get_cache() / f"docker-{_RELEASE}"
    plugin = config / "cli-plugins" / _PACKAGE
    with config.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not plugin.exists():
            with tempfile.TemporaryDirectory(prefix="buildx-") as folder:
                found = _unpack(Path(folder), mirror)
                plugin.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, partial := plugin.with_suffix(".partial"))
                partial.rename(plugin)
    return str(config)


def _unpack(folder: Path, mirror: str) -> Path:
    """Return the plugin, downloaded with lists of packages that are not the machine's own."""
    sources = folder / "release.sources"
    sources.write_text(
        f"Types: deb\nURIs: {mirror}\nSuites: {_RELEASE}\nComponents: main\nSigned-By: {_KEYS}\n"
    )
    (folder / "lists" / "partial").mkdir(parents=True)
    options = [
        *("-o", f"Dir::Etc::SourceList={sources}", "-o", "Dir::Etc::SourceParts=/dev/null"),
        *("-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}"),
        *("-o", "APT::Sandbox::User=root"),
    ]
    check("apt-get", *options, "update", "--quiet")
    check("apt-get", *options, "download", _PACKAGE, cwd=folder)
    check("dpkg-deb", "-x", str(next(folder.glob("*.deb"))), str(folder / "package"))
    return next((folder / "package").rglob(f"cli-plugins/{_PACKAGE}"))


if __name__ == "__main__":
    print(find_config())
