"""The Dockerfiles of the service and the hub agree with the package, the chart and the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
IMAGES = PROJECT / "helm" / "images"
CHART = PROJECT / "helm" / "jupyterhub-binder"
DOCKERFILES = sorted(IMAGES.glob("*/Dockerfile"))


def test_the_service_s_image_can_back_up_either_database():
    text = (IMAGES / "service" / "Dockerfile").read_text()
    assert (
        "postgresql-client" in re.findall(r"apt-get install (.*)$", text, re.MULTILINE)[-1].split()
    )


def test_what_is_copied_into_an_image_is_sent_to_the_engine_and_nothing_else():
    sent = {
        line.removeprefix("!")
        for line in (PROJECT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied: set[str] = set()
    for path in DOCKERFILES:
        for line in re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), re.MULTILINE):
            copied |= set(line.split()[:-1])
    assert copied == sent
    assert all((PROJECT / name).exists() for name in copied)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_runs_as_no_root(path: Path):
    user = re.findall(r"^USER (\S+)$", path.read_text(), re.MULTILINE)[-1]
    assert user.partition(":")[0] == "1000"


def test_the_chart_names_a_port_that_the_image_serves():
    text = (IMAGES / "service" / "Dockerfile").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert f"EXPOSE {values['service']['port']}" in text


def test_pages_name_the_version_that_the_chart_runs():
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for name in ("one-vm", "beside-your-hub"):
        text = (PROJECT / "docs" / "how-to" / f"{name}.md").read_text()
        found = set(re.findall(r"(?:jupyterhub|k8s-hub)-binder:(\S+?)(?:\s|$|\))", text))
        assert found == {version}, name
