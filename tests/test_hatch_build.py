"""The build brings Chart.js from npm once, into the wheel and the sdist."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.conftest import find_node

PROJECT = Path(__file__).parents[1]
BUILT_FROM = ("pyproject.toml", "hatch_build.py", "package.json", "package-lock.json", "README.md",
              "LICENSE", "jupyterhub_binder/_version.py", "share/jupyterhub-binder/static/usage.js")  # fmt: skip
VENDOR = "share/jupyterhub-binder/static/vendor"
FILES = {"chart.umd.min.js", "chart.js.LICENSE.md", "kurkle-color.LICENSE.md"}

pytestmark = pytest.mark.node


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout from which nothing was built."""
    folder = tmp_path / "checkout"
    for name in BUILT_FROM:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    return folder


def build(checkout: Path, npm: str) -> subprocess.CompletedProcess[str]:
    """Build both, with a shell script in place of npm."""
    script = checkout.parent / "bin" / "npm"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!/bin/sh\n{npm}\n")
    script.chmod(0o755)
    node = Path(str(find_node())).parent
    path = os.pathsep.join([str(script.parent), str(node), os.environ["PATH"]])
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "build",
            "--python",
            sys.executable,
            "--out-dir",
            checkout.parent,
        ],
        cwd=checkout,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_and_the_sdist_contain_chart_js_and_npm_is_asked_once(checkout: Path) -> None:
    npm = Path(str(find_node())).with_name("npm")
    done = build(checkout, f'exec "{npm}" "$@"')
    assert done.returncode == 0, done.stderr
    # From here on, npm would fail.
    done = build(checkout, "exit 1")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(checkout.parent.glob("*.whl"))) as wheel:
        assert {Path(name).name for name in wheel.namelist() if VENDOR in name} == FILES
    with tarfile.open(next(checkout.parent.glob("*.tar.gz"))) as sdist:
        assert {Path(name).name for name in sdist.getnames() if f"{VENDOR}/" in name} == FILES
    assert "Chart.js v" in (checkout / VENDOR / "chart.umd.min.js").read_text()[:100]


def test_a_build_without_a_registry_says_what_helps(checkout: Path) -> None:
    done = build(checkout, "echo 'npm error network' >&2; exit 1")
    assert done.returncode != 0
    assert "npm error network" in done.stderr
    assert "build from an sdist" in done.stderr
