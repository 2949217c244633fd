"""The list of an image's packages, asked of a shell as the smoke test asks it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyterhub_binder.backends.repo2docker.listing import LISTING, MAX_LISTED, read_package
from jupyterhub_binder.model.inventory import Package


def listed(environment=None):
    """Run the list in this process's Python; return its lines."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", LISTING],
        env={"PATH": path, **(environment or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_packages_of_the_python_on_the_path_are_listed():
    found = [read_package(line) for line in listed()]
    assert all(found)
    assert {"jupyterhub", "pytest"} <= {each.name for each in found}


def test_the_notebooks_python_counts_where_it_is_another_one(tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho binder-package pip only 1.0\n")
    python.chmod(0o755)
    assert listed({"KERNEL_PYTHON_PREFIX": str(tmp_path)}) == ["binder-package pip only 1.0"]


def test_an_image_without_python_has_no_list_and_no_error(tmp_path):
    done = subprocess.run(["/bin/sh", "-c", LISTING], env={"PATH": str(tmp_path)}, check=True)
    assert done.returncode == 0


def test_the_list_is_shorter_than_what_the_smoke_test_reads():
    assert sum(len(line) + 1 for line in listed()) < MAX_LISTED


@pytest.mark.parametrize(
    ("line", "package"),
    [
        ("binder-package conda numpy 2.1.3", Package("numpy", "2.1.3", "conda")),
        ("binder-package apt numpy 2.1.3", None),
        ("binder-package pip a b c", None),
        ("numpy 2.1.3", None),
    ],
)
def test_other_lines_name_no_package(line, package):
    assert read_package(line) == package
