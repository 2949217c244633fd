"""What a release needs: one version, workflows that name what exists, packages that are locked."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
NAMED = r"(?:\.ci|helm)/[\w./-]+"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_names_files_that_exist_and_pins_others_actions(path: Path) -> None:
    text = path.read_text()
    for name in set(re.findall(NAMED, text)):
        assert (ROOT / name).exists(), name
    jobs = yaml.safe_load(text)["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each) for each in used)
    assert all("timeout-minutes" in job for job in jobs.values())
    needed = [job.get("needs", []) for job in jobs.values()]
    assert {name for each in needed for name in ([each] if isinstance(each, str) else each)} <= set(
        jobs
    )


def test_the_service_image_has_a_locked_version_of_each_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    chosen = re.findall(r"--extra (\w+)", (ROOT / "Makefile").read_text())
    assert chosen
    wanted = [*project["dependencies"], *(each for name in chosen for each in extras[name])]
    lock = (ROOT / "helm/images/service/requirements.txt").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
    for text in wanted:
        asked = Requirement(text)
        version = locked.get(canonicalize_name(asked.name), "")
        assert version, text
        assert asked.specifier.contains(version, prereleases=True), text


def test_a_released_chart_names_the_images_that_are_released_with_it(tmp_path: Path) -> None:
    for name in (".ci/name-images", "helm/jupyterhub-binder/values.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    command = [sys.executable, tmp_path / ".ci/name-images", "ghcr.io/someone"]
    subprocess.run(command, check=True)
    values = yaml.safe_load((tmp_path / "helm/jupyterhub-binder/values.yaml").read_text())
    named = {values["image"]["name"], values["builder"]["folders"]["image"]["name"]}
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    built = {one["image"] for one in workflow["jobs"]["images"]["strategy"]["matrix"]["include"]}
    assert named == {f"ghcr.io/someone/{name}" for name in built - {"k8s-hub-binder"}}
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1


def check_release(root: Path, tag: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / ".ci/release", tag], capture_output=True, text=True, check=False
    )


def test_a_release_with_one_version_everywhere_gets_its_notes(tmp_path: Path) -> None:
    for name, text in {
        ".ci/release": (ROOT / ".ci/release").read_text(),
        "jupyterhub_binder/_version.py": '__version__ = "0.2.0rc1"\n',
        "helm/jupyterhub-binder/Chart.yaml": "name: x\nversion: 0.2.0-rc.1\nappVersion: 0.2.0rc1\n",
        "CHANGELOG.md": "# Changelog\n\n## 0.2.0rc1 (2026-12-01)\n\n- New.\n\n## 0.1.0 (2026-11-01)\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    good = check_release(tmp_path, "v0.2.0rc1")
    assert (good.returncode, good.stdout) == (0, "- New.\n")
    bad = check_release(tmp_path, "v0.2.0")
    assert bad.returncode == 1
    assert "_version.py must say 0.2.0." in bad.stderr
    assert "CHANGELOG.md needs a heading `## 0.2.0 (DATE)`." in bad.stderr
