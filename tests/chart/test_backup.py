"""The CronJob's pod finds the database and the backups, and its command makes one that restores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from jupyterhub_binder.store import Store
from tests.chart.test_config import lay_out
from tests.kit.chart import FAKE, VALUES, Manifest, Rendered, render
from tests.kit.restore_pod import make_restore_pod

BACKUP = {**FAKE, "backup": {"enabled": True, "keep": 2}}
STATE, BACKUPS = "/var/lib/jupyterhub-binder", "/var/backups/jupyterhub-binder"


def mounts(pod: Manifest) -> dict[str, Manifest]:
    """Return the volumes of a pod's only container, by where they are."""
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    (container,) = pod["spec"]["containers"]
    return {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}


def claim(pod: Manifest, path: str) -> str:
    return mounts(pod)[path]["persistentVolumeClaim"]["claimName"]


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert "backup" not in dict(render(FAKE).pods())


def test_sqlite_is_copied_on_the_node_that_has_the_volume() -> None:
    rendered = render({**BACKUP, "affinity": {"nodeAffinity": {}}, "nodeSelector": {"disk": "ssd"}})
    service, backup = rendered.pod("service"), rendered.pod("backup")
    (term,) = backup["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert backup["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert claim(backup, STATE) == claim(service, STATE) == "binder"
    assert claim(backup, BACKUPS) == "binder-backup"


@pytest.mark.parametrize(
    "values",
    [
        {"database": {"url": "postgresql://binder@db/binder"}},
        {"database": {"existingSecret": {"name": "postgresql"}}},
        {"config": {"JupyterHubBinder": {"backend": "fake", "database_url": "postgresql://db/b"}}},
    ],
    ids=["URL", "secret", "configuration"],
)
def test_postgresql_is_copied_from_anywhere(values: dict[str, Any]) -> None:
    backup = render({**BACKUP, **values, "affinity": {"nodeAffinity": {}}}).pod("backup")
    assert backup["spec"]["affinity"] == {"nodeAffinity": {}}
    assert STATE not in mounts(backup)


def test_the_database_is_the_one_of_the_service() -> None:
    for name in ("everything", "a hub in another namespace"):
        rendered = render({**VALUES[name], "backup": {"enabled": True}})
        service, backup = (variables(rendered.pod(c)) for c in ("service", "backup"))
        assert backup["JUPYTERHUB_BINDER_DATABASE_URL"] == service["JUPYTERHUB_BINDER_DATABASE_URL"]
        assert backup.items() <= service.items()
        assert "JUPYTERHUB_API_TOKEN" not in backup


def variables(pod: Manifest) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def test_a_pod_that_cannot_start_does_not_stop_the_next_night() -> None:
    spec = render(BACKUP).one("CronJob", "binder-backup")["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 3600


def test_backups_outlive_the_release() -> None:
    annotations = render(BACKUP).one("PersistentVolumeClaim", "binder-backup")["metadata"]
    assert annotations["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_pod_of_the_page_restores_while_the_service_is_away() -> None:
    rendered = render(BACKUP)
    of_job = make_restore_pod(rendered.one("CronJob", "binder-backup"))
    of_service = make_restore_pod(rendered.one("Deployment", "binder"))
    for pod in (of_job, of_service):
        kubernetes_validate.validate(pod, kubernetes_validate.utils.latest_version(), strict=True)
        assert "affinity" not in pod["spec"]
        assert claim(pod, STATE) == "binder"
    assert claim(of_job, BACKUPS) == "binder-backup"


async def test_the_command_keeps_what_it_is_told_to_and_a_backup_restores(tmp_path: Path) -> None:
    state, backups, config = (tmp_path / name for name in ("state", "backups", "config"))
    for folder in (state, backups, config):
        folder.mkdir()
    url = f"sqlite:///{state}/binder.sqlite"
    await (await Store.open(url)).close()
    rendered = render(BACKUP)
    path = lay_out(rendered.one("Secret", "binder-config"), config)
    chart = json.loads((config / "chart.json").read_text())
    assert chart["JupyterHubBinder"]["state_dir"] == STATE
    chart["JupyterHubBinder"]["state_dir"] = str(state)
    (config / "chart.json").write_text(json.dumps(chart))

    places = {"/etc/jupyterhub-binder/config": str(path.parent), BACKUPS: str(backups)}
    for day in (1, 2):
        (backups / f"binder-2026-03-0{day}T031500.sqlite").write_text("")
    program, *arguments = command(rendered, places)
    assert program == "jupyterhub-binder"
    run(*arguments)
    old, new = sorted(backups.iterdir())
    assert old.name == "binder-2026-03-02T031500.sqlite"
    (state / "binder.sqlite").unlink()
    run("db", "restore", f"--config={path}", str(new))
    run("db", "check", f"--config={path}")


def command(rendered: Rendered, places: dict[str, str]) -> list[str]:
    """Return the CronJob's command, with its folders somewhere else."""
    (container,) = rendered.pod("backup")["spec"]["containers"]
    found = []
    for argument in container["args"]:
        for there, here in places.items():
            argument = argument.replace(there, here)
        found.append(argument)
    return found


def run(*arguments: str) -> None:
    """Run the program with no more of its surroundings than the pod has."""
    done = subprocess.run(
        [sys.executable, "-m", "jupyterhub_binder", *arguments],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
