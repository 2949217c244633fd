"""KubeSpawner in a real hub: what it asks of Kubernetes, and what a node makes of it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import kubernetes_validate
import pytest
import pytest_asyncio
from jupyterhub.tests.mocking import MockHub
from jupyterhub.utils import random_port
from kubespawner import KubeSpawner
from traitlets.config import Config

from jupyterhub_binder.hubconfig import configure
from jupyterhub_binder.spawner import BinderKubeSpawner, binder_spawner
from tests.kit.kubelet import WITHOUT_SERVER, Cluster, open_cluster
from tests.kit.real_hub import MOCK_SERVER, FakeService, NoProxy, Person, start_hub, stop_hub
from tests.kit.waiting import until

IMAGE = "registry.example.org/binder/abc:1"
PROFILES = [
    {
        "display_name": "Small",
        "default": True,
        "kubespawner_override": {"mem_limit": "1G", "image": "hub/small:1"},
    },
    {
        "display_name": "Large",
        "kubespawner_override": {"mem_limit": "8G", "cmd": ["tini", "jupyterhub-singleuser", "-x"]},
        "profile_options": {
            "image": {
                "display_name": "Image",
                "unlisted_choice": {
                    "enabled": True,
                    "display_name": "Image",
                    "validation_regex": r"^[a-z/]+:\d+$",
                    "kubespawner_override": {"image": "{value}"},
                },
                "choices": {
                    "lab": {"display_name": "Lab", "kubespawner_override": {"image": "hub/lab:1"}}
                },
            }
        },
    },
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    async with open_cluster(folder, server=" ".join(MOCK_SERVER)) as running:
        yield running


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what is /srv/repo in images."""
    folder = tmp_path_factory.mktemp("repo")
    (folder / "index.ipynb").write_text("{}")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(
    cluster: Cluster,
    service: FakeService,
    repo: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[MockHub]:
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("KUBECONFIG", str(cluster.kubeconfig(folder)))
        patch.setattr(
            "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION",
            str(folder / "kubeconfig"),
        )
        app = await start_hub(_config(service, repo))
        service.hub_api = app.hub.api_url.rstrip("/")
        yield app
        await stop_hub(app)
    await KubeSpawner._stop_all_reflectors()


def _config(service: FakeService, repo: Path) -> Config:
    c = Config()
    c.JupyterHub.bind_url = f"http://127.0.0.1:{random_port()}/"
    c.JupyterHub.proxy_class = NoProxy
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 20, "slow_stop_timeout": 20}
    c.JupyterHub.trusted_downstream_ips = ["10.0.0.1"]
    c.KubeSpawner.namespace = "default"
    c.KubeSpawner.ip = "127.0.0.1"
    c.KubeSpawner.image = "hub/default:1"
    c.KubeSpawner.cmd = ["jupyterhub-singleuser"]
    c.KubeSpawner.image_pull_secrets = ["registry-credentials"]
    c.KubeSpawner.storage_pvc_ensure = True
    c.KubeSpawner.storage_capacity = "1Gi"
    c.KubeSpawner.storage_access_modes = ["ReadWriteOnce"]
    c.KubeSpawner.volumes = [
        {"name": "home", "persistentVolumeClaim": {"claimName": "claim-{username}"}}
    ]
    c.KubeSpawner.volume_mounts = [
        {"name": "home", "mountPath": "/home/jovyan", "subPath": "{username}"}
    ]
    c.KubeSpawner.environment = {"THEIRS": "{username}"}
    c.KubeSpawner.init_containers = [
        {"name": "theirs", "image": "busybox:1", "args": ["true"], "env": []}
    ]
    c.KubeSpawner.uid = 1000
    c.Spawner.http_timeout = 30
    c.BinderImageMixin.binder_repo_dir = str(repo)
    configure(c, url=service.url, api_token="t" * 32)
    return c


@pytest.fixture
async def person(hub: MockHub) -> AsyncIterator[Person]:
    someone = Person(hub, f"person-{os.urandom(4).hex()}")
    someone.spawner.port = random_port()
    yield someone
    if someone.spawner.active:
        await someone.user.stop("")


def server_of(pod: dict[str, Any]) -> dict[str, Any]:
    return pod["spec"]["containers"][0]


def env_of(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container["env"]}


def check_strictly(manifest: dict[str, Any]) -> None:
    versions = kubernetes_validate.utils.all_versions()
    for version in (versions[0], versions[-1]):
        kubernetes_validate.validate(manifest, version, strict=True)


# --- A start, to its end ----------------------------------------------------------------------------------


async def test_a_start_asks_for_a_claim_and_a_pod_that_runs_the_environment(
    hub: MockHub, cluster: Cluster, fresh: FakeService, person: Person
) -> None:
    environment = fresh.add(
        "one",
        image=IMAGE,
        path="index.ipynb",
        repo_url="https://example.org/one$(HOME)",
        ref_url="https://example.org/one/tree/abc",
        request="v2/gh/one/one/main",
        persistent_request="v2/gh/one/one/abc",
        client_ip="203.0.113.7",
    )
    before = len(cluster.asked())
    status, answer = await person.spawn({"environment": environment})
    assert status == 201, answer
    created = [path for method, path in cluster.asked()[before:] if method == "POST"]
    assert created == [
        "/api/v1/namespaces/default/persistentvolumeclaims",
        "/api/v1/namespaces/default/pods",
    ]
    pod = cluster.pods[-1]
    check_strictly(pod)
    assert server_of(pod)["image"] == IMAGE
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry-credentials"}]
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["theirs"]

    env = await person.server("env")
    assert env["BINDER_REPO_URL"] == "https://example.org/one$(HOME)"
    assert env["BINDER_REF_URL"] == "https://example.org/one/tree/abc"
    assert env["BINDER_REQUEST"] == "v2/gh/one/one/main"
    assert env["BINDER_PERSISTENT_REQUEST"] == "v2/gh/one/one/abc"
    assert env["BINDER_LAUNCH_HOST"] == "/services/binder/"
    assert env["BINDER_CLIENT_IP"] == "203.0.113.7"
    assert env["THEIRS"] == person.name
    assert "JUPYTERHUB_BINDER_CONTENT" not in env
    assert env["JUPYTERHUB_DEFAULT_URL"] == "/lab/tree/repo/index.ipynb"
    home = Path(env["HOME"])
    assert (home / "repo" / "index.ipynb").exists()
    known = json.loads((home / ".local/share/jupyterhub-binder/content.json").read_text())
    assert known["folders"]["repo"]["origin"] == "https://example.org/one$(HOME)"
    assert any(path.endswith("/pods") for _, path in cluster.asked())


async def test_without_an_environment_the_pod_is_the_admins(
    hub: MockHub, cluster: Cluster, fresh: FakeService, person: Person
) -> None:
    await person.spawn({"environment": fresh.add("one", image=IMAGE)})
    await person.stop()
    await person.spawn({"environment": ""})
    server = server_of(cluster.pods[-1])
    assert server["image"] == "hub/default:1"
    assert server["args"] == ["jupyterhub-singleuser"]
    assert not [name for name in env_of(server) if name.startswith("BINDER_")]


# --- Profiles ---------------------------------------------------------------------------------------------


async def test_a_profile_gives_the_resources_and_the_environment_the_image(
    hub: MockHub, cluster: Cluster, fresh: FakeService, person: Person
) -> None:
    person.spawner.profile_list = PROFILES
    environment = fresh.add("one", image=IMAGE)
    assert (await person.spawn({"environment": environment}))[0] == 201
    server = server_of(cluster.pods[-1])
    assert server["image"] == IMAGE
    assert server["resources"]["limits"]["memory"] == 2**30
    await person.stop()

    person.spawner.profile_list = PROFILES
    person.spawner.port = random_port()
    manifest = await manifest_for(person, environment, {"profile": "large", "image": "lab"})
    server = server_of(manifest)
    assert server["image"] == IMAGE
    assert server["resources"]["limits"]["memory"] == 8 * 2**30
    assert server["args"][0] == "tini"
    assert server["args"][-2:] == ["jupyterhub-singleuser", "-x"]


async def manifest_for(person: Person, environment: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the pod of a start with options, without starting it."""
    spawner = person.spawner
    spawner.user_options = {"environment": environment, **options}
    await spawner._run_apply_user_options(spawner.user_options)
    await spawner.run_pre_spawn_hook()
    try:
        await spawner.load_user_options()
        pod = await spawner.get_pod_manifest()
    finally:
        spawner.clear_state()
    manifest = spawner.api.api_client.sanitize_for_serialization(pod)
    check_strictly(manifest)
    return manifest


async def test_an_unlisted_choice_goes_on_working_and_is_still_checked(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    spawner = person.spawner
    spawner.profile_list = PROFILES
    chosen = {"profile": "large", "image--unlisted-choice": "mine/image:2"}
    manifest = await manifest_for(person, "", chosen)
    assert server_of(manifest)["image"] == "mine/image:2"
    with pytest.raises(ValueError, match="validation regex"):
        await manifest_for(person, "", {**chosen, "image--unlisted-choice": "; rm"})
    manifest = await manifest_for(person, fresh.add("one", image=IMAGE), chosen)
    assert server_of(manifest)["image"] == IMAGE


async def test_an_image_among_the_options_is_never_obeyed(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    manifest = await manifest_for(person, fresh.add("one", image=IMAGE), {"image": "evil/image:1"})
    assert server_of(manifest)["image"] == IMAGE


async def test_the_profiles_form_stands_below_our_choice(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    person.spawner.profile_list = PROFILES
    environment = fresh.add("one", image=IMAGE)
    form = await person.spawner.get_options_form()
    assert environment in form
    assert "Large" in form
    sent = {
        "environment": [environment],
        "profile": ["large"],
        "profile-option-large--image--unlisted-choice": ["mine/image:2"],
    }
    assert await person.spawner.run_options_from_form(sent) == {
        "environment": environment,
        "profile": "large",
        "image--unlisted-choice": "mine/image:2",
    }


async def test_a_profile_that_is_a_function_is_asked_each_time(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    async def profiles(spawner: Any) -> list[dict[str, Any]]:
        return PROFILES

    person.spawner.profile_list = profiles
    manifest = await manifest_for(person, fresh.add("one", image=IMAGE), {"profile": "large"})
    assert server_of(manifest)["resources"]["limits"]["memory"] == 8 * 2**30


async def offered_to(person: Person, name: str = "", token: str = "") -> Any:
    """Return what the hub answers a person's token, or the status of a refusal."""
    headers = {"Authorization": f"token {token or person.token}"}
    url = f"{person.api}/users/{name or person.name}/binder-profiles"
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
        return (await response.json())["profiles"] if response.status == 200 else response.status


async def test_the_hub_says_which_profiles_a_person_has_and_not_what_they_set(
    hub: MockHub, person: Person
) -> None:
    async def profiles(spawner: Any) -> list[dict[str, Any]]:
        memory = {"8": {"display_name": "8 GB", "kubespawner_override": {"mem_limit": "8G"}}}
        memory["16"] = {"display_name": "16 GB", "kubespawner_override": {"mem_limit": "16G"}}
        large = {
            "display_name": "Large",
            "description": f"For <b>{spawner.user.name}</b> &amp; others",
            "profile_options": {
                "memory": {"display_name": "Memory", "choices": memory},
                "path": {"display_name": "Path", "choices": memory},
                **PROFILES[1]["profile_options"],
            },
        }
        typed = {"display_name": "Typed", "profile_options": {"x": {"unlisted_choice": {}}}}
        return [PROFILES[0], large, typed]

    person.spawner.profile_list = profiles
    small, large = await offered_to(person)
    assert small == {
        "slug": "small",
        "name": "Small",
        "description": "",
        "default": True,
        "options": [],
    }
    assert (large["slug"], large["description"]) == ("large", f"For {person.name} & others")
    assert large["options"] == [
        {
            "name": "memory",
            "label": "Memory",
            "choices": {"8": "8 GB", "16": "16 GB"},
            "default": "8",
        }
    ]


async def test_nobody_is_told_the_profiles_of_another_person(hub: MockHub, person: Person) -> None:
    other = Person(hub, f"person-{os.urandom(4).hex()}")
    assert await offered_to(person, other.name) in (403, 404)
    assert await offered_to(other) == []


# --- Environments that are folders --------------------------------------------------------------------------


async def test_a_folder_is_mounted_read_only_where_it_was_made(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    person.spawner.profile_list = PROFILES
    person.spawner.binder_environments_claim = "binder-environments"
    person.spawner.binder_environments_image = "hub/folders:1"
    person.spawner.environments_root = "/srv/environments"
    kept = fresh.add("one", image="venv:abc", content_key="def")
    manifest = await manifest_for(person, kept, {"profile": "large"})
    server = server_of(manifest)
    assert server["image"] == "hub/folders:1"
    assert server["resources"]["limits"]["memory"] == 8 * 2**30
    assert server["args"][:2] == ["tini", "/srv/environments/abc/bin/python"]
    assert server["args"][-2:] == ["/srv/environments/abc/bin/jupyterhub-singleuser", "-x"]
    assert "--from=/srv/environments/def/repo" in server["args"]
    env = env_of(server)
    assert env["VIRTUAL_ENV"] == "/srv/environments/abc"
    assert env["PATH"].startswith("/srv/environments/abc/bin:/usr/local/sbin:")

    [volume] = [one for one in manifest["spec"]["volumes"] if one["name"] != "home"]
    claim = {"claimName": "binder-environments", "readOnly": True}
    assert volume == {"name": "binder-environments", "persistentVolumeClaim": claim}
    mounts = [one for one in server["volumeMounts"] if one["name"] == volume["name"]]
    assert mounts == [
        {
            "mountPath": f"/srv/environments/{key}",
            "subPath": key,
            "name": volume["name"],
            "readOnly": True,
        }
        for key in ("abc", "def")
    ]

    gone = fresh.add("two", image="venv:abc", content_key="def", content_kept=False)
    mounts = server_of(await manifest_for(person, gone, {}))["volumeMounts"]
    assert "def" not in [one.get("subPath") for one in mounts]


async def test_a_folder_without_a_claim_is_refused_with_what_to_set(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    status, answer = await person.spawn({"environment": fresh.add("one", image="venv:abc")})
    assert status == 400
    assert "binder_environments_claim" in answer["message"]


# --- Content through an init container ----------------------------------------------------------------------


async def test_an_init_container_brings_what_images_keep_in_the_home(
    hub: MockHub, cluster: Cluster, fresh: FakeService, person: Person
) -> None:
    person.spawner.binder_content_init = True
    environment = fresh.add("one", image=IMAGE, directory="through-init")
    status, answer = await person.spawn({"environment": environment})
    assert status == 201, answer
    pod = cluster.pods[-1]
    check_strictly(pod)
    theirs, ours = pod["spec"]["initContainers"]
    assert theirs["name"] == "theirs"
    assert ours["image"] == IMAGE
    assert ours["volumeMounts"] == [
        {"name": "home", "mountPath": "/binder-home", "subPath": person.name}
    ]
    assert ours["securityContext"] == server_of(pod)["securityContext"]
    assert env_of(ours)["HOME"] == "/binder-home"
    assert "JUPYTERHUB_API_TOKEN" not in env_of(ours)
    home = Path((await person.server("env"))["HOME"])
    assert (home / "through-init" / "index.ipynb").exists()


async def test_without_a_mounted_home_there_is_nothing_to_bring(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    person.spawner.binder_content_init = True
    person.spawner.volume_mounts = [{"name": "home", "mountPath": "/data"}]
    manifest = await manifest_for(person, fresh.add("one", image=IMAGE), {})
    assert len(manifest["spec"]["initContainers"]) == 1


# --- Whose start it is --------------------------------------------------------------------------------------


async def test_the_address_is_the_proxys_word_and_never_the_persons(
    hub: MockHub, cluster: Cluster, fresh: FakeService, person: Person
) -> None:
    forged = {
        "X-Forwarded-For": "1.1.1.1, 198.51.100.4, 10.0.0.1",
        "X-Real-Ip": "2.2.2.2",
    }
    options = {
        "environment": fresh.add("one", image=IMAGE),
        "client_ip": "3.3.3.3",
        "binder_client_ip": "3.3.3.3",
    }
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"token {person.token}"}) as session,
        session.post(person.api + person.path(), json=options, headers=forged) as response,
    ):
        assert response.status == 201
    env = env_of(server_of(cluster.pods[-1]))
    assert env["BINDER_CLIENT_IP"] == "198.51.100.4"


# --- Progress -----------------------------------------------------------------------------------------------


async def test_pages_hear_the_pods_own_events_after_the_builds(
    hub: MockHub, fresh: FakeService, person: Person
) -> None:
    environment = fresh.add("one", image=IMAGE)
    starting = asyncio.create_task(person.spawn({"environment": environment}))
    await until(lambda: person.spawner._spawn_pending)
    events = await person.progress()
    assert (await starting)[0] == 201
    assert "Starting one" in [event["message"] for event in events]
    assert events[-1]["ready"]


# --- The class ----------------------------------------------------------------------------------------------


def test_the_spawner_is_mixed_into_what_the_admin_has() -> None:
    class Theirs(KubeSpawner):
        pass

    made = binder_spawner(Theirs)
    assert made.__name__ == "BinderTheirs"
    assert issubclass(made, Theirs)
    assert binder_spawner(BinderKubeSpawner) is BinderKubeSpawner


async def test_an_image_without_a_server_is_said_at_once(
    fresh: FakeService, person: Person
) -> None:
    environment = fresh.add("one", image=WITHOUT_SERVER)
    status, answer = await person.spawn({"environment": environment})
    assert status == 400, answer
    assert "it has no jupyterhub-singleuser. Install" in answer["message"]
    assert f"environments/{environment}" in (await person.progress())[-1]["html_message"]
    status, answer = await person.spawn({"environment": fresh.add("two", image=IMAGE)})
    assert status == 201, answer
