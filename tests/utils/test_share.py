"""The templates are found wherever an installer puts them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jupyterhub_binder.utils.share import share_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Install as pip does for Debian's own Python: below /usr/local, away from sys.prefix."""
    packages = tmp_path / "local/lib/python3.11/dist-packages"
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "jupyterhub_binder", packages / "jupyterhub_binder", ignore=skipped)
    share = tmp_path / "local/share/jupyterhub-binder"
    shutil.copytree(share_folder(), share)
    about = packages / "jupyterhub_binder-0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: jupyterhub-binder\nVersion: 0\n")
    record = [f"{os.path.relpath(file, packages)},," for file in share.rglob("*") if file.is_file()]
    (about / "RECORD").write_text("\n".join(record))
    return tmp_path / "local"


def ask(installed: Path, code: str) -> subprocess.CompletedProcess[str]:
    path = installed / "lib/python3.11/dist-packages"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(path)},
        cwd=installed,
        capture_output=True,
        text=True,
    )


CONFIGURE = """
from traitlets.config import Config
from jupyterhub_binder.hubconfig import configure
c = Config()
configure(c)
print(c.JupyterHub.template_paths.to_dict()["prepend"][0])
"""


def test_hub_gets_the_templates_of_an_installation_outside_the_prefix(installed: Path) -> None:
    done = ask(installed, CONFIGURE)
    assert done.stdout.strip() == str(installed / "share/jupyterhub-binder/templates/hub")
    assert (Path(done.stdout.strip()) / "page.html").is_file()


def test_missing_templates_are_said(installed: Path) -> None:
    shutil.rmtree(installed / "share")
    done = ask(installed, CONFIGURE)
    assert "Install the package again" in done.stderr
