"""What `configure` makes of an administrator's configuration, whatever was in it before."""

from __future__ import annotations

import copy
import json
import logging
import subprocess
import sys
from typing import Any

import jupyterhub
import pytest
from dockerspawner import DockerSpawner
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import LocalProcessSpawner, SimpleLocalProcessSpawner, Spawner
from traitlets import Unicode
from traitlets.config import Config

from jupyterhub_binder import hubconfig
from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.hubconfig import CONFIG_VARIABLE, SERVICE_SECTIONS, configure
from jupyterhub_binder.spawner import (
    BinderDockerMixin,
    BinderImageMixin,
    BinderSpawnerMixin,
    binder_spawner,
)
from jupyterhub_binder.wiring import CONFIGURABLES

SIX = jupyterhub.version_info >= (6,)


@pytest.fixture
def c() -> Config:
    return Config()


def hub_of(c: Config) -> JupyterHub:
    """Return a hub with this configuration, as far as traits go; not initialised."""
    return JupyterHub(config=c)


def by_name(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = [item for item in items if item["name"] == name]
    assert len(found) == 1
    return found[0]


def test_options_that_only_the_service_reads_are_named(c: Config, monkeypatch, caplog) -> None:
    monkeypatch.setattr(hubconfig, "get_logger", logging.getLogger)
    c.Alerts.email_to = ["ops@example.org"]
    c.VenvBackend.default_python = "3.12"
    c.EventLogger.handlers = []
    configure(c)
    named = [record.getMessage().split()[0] for record in caplog.records]
    assert named == ["c.Alerts", "c.VenvBackend"]


def test_the_sections_of_the_service_are_its_classes() -> None:
    classes = {each.__name__ for each in (JupyterHubBinder, *CONFIGURABLES)}
    assert classes - {"HubOAuth"} == SERVICE_SECTIONS


def test_one_call_on_an_empty_configuration_is_enough(c: Config) -> None:
    configure(c)
    hub = hub_of(c)
    service = by_name(hub.services, "binder")
    assert service["url"] == "http://127.0.0.1:10101"
    assert service["oauth_no_confirm"] is True
    assert set(hub.custom_scopes) == {"custom:binder:admin", "custom:binder:build"}
    role = by_name(hub.load_roles, "binder-service")
    assert role["services"] == ["binder"]
    # Not `admin:users`, whose holder could make administrators (JupyterHub, CVE-2024-41942).
    assert role["scopes"] == [
        "read:users:name",
        "list:users",
        "read:servers",
        "delete:servers",
        "read:hub",
    ]
    assert issubclass(hub.spawner_class, BinderSpawnerMixin)
    assert issubclass(hub.spawner_class, LocalProcessSpawner)
    assert hub.allow_named_servers
    assert hub.template_paths[0].endswith("templates/hub")
    assert hub.template_paths[1:] == hub._template_paths_default()


def test_service_and_spawner_agree_on_the_folder_of_environments(c: Config, tmp_path: Any) -> None:
    configure(c, state_dir=tmp_path / "state")
    config = json.loads(by_name(hub_of(c).services, "binder")["environment"][CONFIG_VARIABLE])
    root = str(tmp_path / "state-environments")
    assert config["VenvBackend"]["environments_root"] == root
    assert config["JupyterHubBinder"]["state_dir"] == str(tmp_path / "state")
    assert c.BinderSpawnerMixin.environments_root == root


class _Mine(LocalProcessSpawner):
    """Starts servers as whoever its administrator wants."""


@pytest.mark.parametrize(
    ("spawner", "uid", "expected"),
    [
        (LocalProcessSpawner, 0, True),
        (LocalProcessSpawner, 1000, False),
        (SimpleLocalProcessSpawner, 0, False),
        (_Mine, 0, False),
    ],
)
def test_environments_are_shared_files_only_where_servers_run_as_other_users(
    c: Config, monkeypatch: pytest.MonkeyPatch, spawner: Any, uid: int, expected: bool
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    configure(c, spawner_class=spawner)
    config = json.loads(by_name(hub_of(c).services, "binder")["environment"][CONFIG_VARIABLE])
    assert config["VenvBackend"]["servers_cannot_write"] is expected


def test_what_was_set_before_is_kept(c: Config) -> None:
    c.JupyterHub.services = [{"name": "cull"}]
    c.JupyterHub.load_roles = [{"name": "cull", "services": ["cull"], "scopes": ["servers"]}]
    c.JupyterHub.custom_scopes = {"custom:mine:x": {"description": "x"}}
    c.JupyterHub.template_paths = ["/mine"]
    c.JupyterHub.spawner_class = SimpleLocalProcessSpawner
    c.JupyterHub.allow_named_servers = False
    c.BinderSpawnerMixin.environments_root = "/elsewhere"
    configure(c)
    hub = hub_of(c)
    assert [service["name"] for service in hub.services] == ["cull", "binder"]
    assert by_name(hub.load_roles, "cull")
    assert "custom:mine:x" in hub.custom_scopes
    assert hub.template_paths[0] == "/mine"
    assert issubclass(hub.spawner_class, SimpleLocalProcessSpawner)
    assert not hub.allow_named_servers
    assert c.BinderSpawnerMixin.environments_root == "/elsewhere"
    config = json.loads(by_name(hub.services, "binder")["environment"][CONFIG_VARIABLE])
    assert config["JupyterHubBinder"]["named_servers"] is False


def test_what_is_added_before_and_after_is_kept(c: Config) -> None:
    c.JupyterHub.services.append({"name": "before"})
    c.JupyterHub.load_roles.append({"name": "before", "scopes": []})
    c.JupyterHub.template_paths.prepend(["/mine"])
    configure(c)
    c.JupyterHub.services.append({"name": "after"})
    c.JupyterHub.load_roles.append({"name": "after", "scopes": []})
    hub = hub_of(c)
    assert [service["name"] for service in hub.services] == ["before", "binder", "after"]
    assert by_name(hub.load_roles, "before")
    assert by_name(hub.load_roles, "after")
    assert hub.template_paths[0] == "/mine"
    assert hub.template_paths[1].endswith("templates/hub")


def test_a_second_call_changes_nothing_and_another_one_replaces(c: Config) -> None:
    configure(c)
    once = copy.deepcopy(c)
    configure(c)
    first, second = hub_of(once), hub_of(c)
    for trait in ("services", "load_roles", "custom_scopes", "template_paths", "spawner_class"):
        assert getattr(first, trait) == getattr(second, trait), trait
    other = Config()
    configure(other)
    configure(other, port=12345)
    assert by_name(hub_of(other).services, "binder")["url"] == "http://127.0.0.1:12345"


def user_scopes(hub: JupyterHub) -> set[str]:
    role = next((role for role in hub.load_roles if role["name"] == "user"), None)
    if role is not None:
        return set(role["scopes"])
    return {"self", *hub.extra_user_scopes}


def test_people_keep_their_own_scopes_and_get_ours(c: Config) -> None:
    configure(c)
    assert user_scopes(hub_of(c)) >= {
        "self",
        "access:services!service=binder",
        "custom:binder:build",
    }


def test_a_user_role_of_the_administrators_is_added_to(c: Config) -> None:
    c.JupyterHub.load_roles = [
        {"name": "user", "description": "ours", "scopes": ["self", "access:services!service=cull"]}
    ]
    configure(c)
    role = by_name(hub_of(c).load_roles, "user")
    assert role["description"] == "ours"
    assert set(role["scopes"]) == {
        "self",
        "access:services!service=cull",
        "access:services!service=binder",
        "custom:binder:build",
    }


@pytest.mark.parametrize("version", [(5, 5, 4), (6, 1, 1)])
def test_both_generations_of_the_hub_are_configured_in_their_own_way(
    c: Config, version: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubconfig.jupyterhub, "version_info", version)
    configure(c)
    scopes = c.JupyterHub.services.to_dict()["extend"][0]["oauth_client_allowed_scopes"]
    roles = [role["name"] for role in c.JupyterHub.load_roles.to_dict()["extend"]]
    if version < (6,):
        assert "servers!user" in scopes
        assert "user" in roles
    else:
        assert "start:servers!user" in scopes
        assert "user" not in roles


def test_building_can_be_kept_to_groups(c: Config) -> None:
    configure(c, everyone_may_build=False, build_groups=["staff"], admin_users=["root"])
    hub = hub_of(c)
    assert "custom:binder:build" not in user_scopes(hub)
    assert by_name(hub.load_roles, "binder-builders")["groups"] == ["staff"]
    assert by_name(hub.load_roles, "binder-admins")["users"] == ["root"]


def test_a_service_of_its_own_is_only_pointed_at(c: Config) -> None:
    configure(c, url="http://binder:10101", api_token="secret")
    service = by_name(hub_of(c).services, "binder")
    assert service["url"] == "http://binder:10101"
    assert service["api_token"] == "secret"
    assert "command" not in service
    with pytest.raises(ConfigurationError, match="api_token"):
        configure(Config(), url="http://binder:10101")


@pytest.mark.parametrize(
    "spawner", ["simple", "jupyterhub.spawner.SimpleLocalProcessSpawner", SimpleLocalProcessSpawner]
)
def test_the_spawner_may_be_named_in_any_way(c: Config, spawner: Any) -> None:
    configure(c, spawner_class=spawner)
    assert issubclass(c.JupyterHub.spawner_class, SimpleLocalProcessSpawner)
    assert issubclass(c.JupyterHub.spawner_class, BinderSpawnerMixin)


def test_the_administrators_spawner_settings_go_on_working(c: Config) -> None:
    class Mine(SimpleLocalProcessSpawner):
        pass

    c.JupyterHub.spawner_class = Mine
    c.Mine.home_dir_template = "/homes/{username}"
    c.Spawner.args = ["--debug"]
    configure(c)
    spawner = c.JupyterHub.spawner_class(config=c)
    assert spawner.home_dir_template == "/homes/{username}"
    assert spawner.args == ["--debug"]


def test_a_spawner_that_cannot_be_mixed_is_refused_by_name(c: Config) -> None:
    class Other(Spawner):
        start = stop = poll = None

    c.JupyterHub.spawner_class = Other
    with pytest.raises(ConfigurationError, match="Other"):
        configure(c)
    with pytest.raises(ConfigurationError, match="can't be imported"):
        configure(Config(), spawner_class="nowhere.Spawner")


def test_values_that_are_no_json_are_refused(c: Config) -> None:
    with pytest.raises(ConfigurationError, match="service_config"):
        configure(c, service_config={"Builds": {"log": object()}})


def test_a_spawner_of_containers_is_mixed_into_and_keeps_its_options() -> None:
    c = Config()
    c.JupyterHub.spawner_class = "docker"
    c.DockerSpawner.image = "theirs:1"
    configure(c, backend="repo2docker")
    made = c.JupyterHub.spawner_class
    assert issubclass(made, BinderDockerMixin)
    assert issubclass(made, DockerSpawner)
    assert made.__name__ == "BinderDockerSpawner"
    assert c.DockerSpawner.image == "theirs:1"


@pytest.mark.parametrize(
    ("spawner", "backend"),
    [("docker", "venv"), ("kubespawner.KubeSpawner", "venv"), ("simple", "repo2docker")],
)
def test_a_backend_whose_environments_the_spawner_cannot_start_is_refused(
    spawner: str, backend: str
) -> None:
    with pytest.raises(ConfigurationError, match="Change one of them"):
        configure(Config(), backend=backend, spawner_class=spawner)


def test_any_spawner_with_an_image_is_taken_and_one_without_is_refused() -> None:
    class Imaged(Spawner):
        image = Unicode()

        async def start(self) -> None: ...

        async def stop(self, now: bool = False) -> None: ...

        async def poll(self) -> None: ...

    assert issubclass(binder_spawner(Imaged), BinderImageMixin)
    with pytest.raises(TypeError, match="no mixin"):
        binder_spawner(Spawner)


@pytest.mark.parametrize(
    ("module", "library", "package"),
    [
        ("docker", "dockerspawner", "dockerspawner"),
        ("kube", "kubespawner", "jupyterhub-kubespawner"),
    ],
)
def test_a_missing_library_is_named_with_the_package_that_brings_it(
    module: str, library: str, package: str
) -> None:
    script = (
        f"import sys; sys.modules[{library!r}] = None\nimport jupyterhub_binder.spawner.{module}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert f"needs {library}: pip install '{package}>=" in done.stderr


def test_a_missing_librarys_sentence_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dockerspawner", None)
    monkeypatch.delitem(sys.modules, "jupyterhub_binder.spawner.docker", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'dockerspawner>=14'\.$"):
        configure(Config(), backend="repo2docker", spawner_class="binder-docker")


def test_the_proxies_that_the_hub_trusts_are_the_services_too() -> None:
    c = Config()
    c.JupyterHub.trusted_downstream_ips = ["10.0.0.1"]
    configure(c)
    service = by_name(hub_of(c).services, "binder")
    given = json.loads(service["environment"][CONFIG_VARIABLE])
    assert given["JupyterHubBinder"]["trusted_downstream_ips"] == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("spawner", "more", "kinds", "cannot_write"),
    [
        ("simple", {}, ["folder"], False),
        ("docker", {}, ["folder", "image"], True),
        ("kubespawner.KubeSpawner", {}, ["image"], True),
        ("kubespawner.KubeSpawner", {"environments_claim": "x"}, ["folder", "image"], True),
    ],
)
def test_auto_knows_what_the_spawner_starts(spawner, more, kinds, cannot_write):
    c = Config()
    configure(c, backend="auto", spawner_class=spawner, **more)
    (service,) = c.JupyterHub.services.to_dict()["extend"]
    config = json.loads(service["environment"][CONFIG_VARIABLE])
    assert config["AutoBackend"]["startable"] == kinds
    assert config["VenvBackend"]["servers_cannot_write"] is cannot_write
