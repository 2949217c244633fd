"""What is written in values is what the real program loads, and what BinderHub would."""

from __future__ import annotations

import base64
import gc
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from jupyterhub.utils import subdomain_hook_idna
from traitlets import Dict
from traitlets.config import Config, Configurable, PyFileConfigLoader

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.backends.repo2docker.docker_config import DockerConfig
from jupyterhub_binder.hubconfig import CHART_ROOT
from tests.kit.chart import ALL, FAKE, VALUES, Manifest, Rendered, render, secret_text

STRANGE = {
    "JupyterHubBinder": {
        "backend": "fake",
        "example_name": 'Zoë\'s "first" <b>&amp;</b> {{ .Values }} $(HOME)\nline two',
        "template_vars": {"Upper": {"deep": [1, 2.5, True, "x"]}, "lower": {}},
        "named_servers": False,
    },
    "Builds": {"max_running": 7},
    "Cleanup": {"budget_bytes": 214748364800},
}


def lay_out(secret: Manifest, folder: Path) -> Path:
    """Put a secret's files where the pod would have them."""
    for name, data in secret["data"].items():
        (folder / name).write_bytes(base64.b64decode(data))
    (path,) = folder.glob("*_config.py")
    return path


def load_service(rendered: Rendered, folder: Path, name: str = "binder") -> JupyterHubBinder:
    """Let the real application read its configuration."""
    path = lay_out(rendered.one("Secret", f"{name}-config"), folder)
    app = JupyterHubBinder()
    app.initialize([f"--config={path}"])
    return app


def variables(rendered: Rendered, component: str) -> dict[str, Any]:
    (container,) = rendered.pod(component)["spec"]["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def test_folders_are_made_on_the_volume_that_servers_mount(tmp_path: Path) -> None:
    rendered = render(VALUES["folders"])
    app = load_service(rendered, tmp_path)
    assert app.backend == "venv"
    pods, venv = app.config.BuildPods, app.config.VenvBackend
    assert venv.where == "kubernetes"
    assert app.config.Cleanup.budget_bytes == 50 * 2**30
    pod = rendered.pod("service")["spec"]
    [volume] = [one for one in pod["volumes"] if one["name"] == "environments"]
    assert volume["persistentVolumeClaim"] == {"claimName": pods.claim}
    [mount] = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "environments"]
    assert mount["mountPath"] == venv.environments_root == str(CHART_ROOT)
    claim = rendered.one("PersistentVolumeClaim", pods.claim)["spec"]
    assert (claim["storageClassName"], claim["accessModes"]) == ("nfs", ["ReadWriteMany"])
    assert pods.image == pod["containers"][0]["image"]
    assert pods.user_namespaces is True
    assert pods.labels["app.kubernetes.io/component"] == "build"
    assert f'environments_claim="{pods.claim}"' in rendered.notes


@pytest.mark.parametrize(
    "beside",
    [
        {
            "binderhub": {"enabled": True},
            "registry": {"internal": {"enabled": True, "nodePort": 30500}},
        },
        {"config": {"BinderHubBackend": {"url": "http://binder.example.org/"}}},
    ],
    ids=["of the chart", "of somebody else"],
)
def test_folders_beside_a_binderhub_come_first(tmp_path: Path, beside: dict[str, Any]) -> None:
    rendered = render({"config": {}, "builder": {"type": "folders"}, **beside})
    app = load_service(rendered, tmp_path)
    assert app.backend == "auto"
    assert app.config.AutoBackend.backends == ["venv", "binderhub"]
    assert app.config.BinderHubBackend.url.startswith("http://")
    assert app.config.VenvBackend.where == "kubernetes"


def test_options_arrive_as_they_are_written(tmp_path: Path) -> None:
    app = load_service(render({"config": STRANGE}), tmp_path)
    for section, values in STRANGE.items():
        for name, value in values.items():
            assert app.config[section][name] == value
    assert app.example_name == STRANGE["JupyterHubBinder"]["example_name"]
    assert app.named_servers is False


def test_service_listens_where_its_port_is_and_keeps_things_on_its_volume(tmp_path: Path) -> None:
    rendered = render(VALUES["to try the pages"])
    app = load_service(rendered, tmp_path)
    (container,) = rendered.pod("service")["spec"]["containers"]
    assert (app.ip, app.port) == ("0.0.0.0", container["ports"][0]["containerPort"])
    assert app.state_dir in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["args"][0] == "jupyterhub-binder"
    assert container["args"][2] == "--config=/etc/jupyterhub-binder/config/" + next(
        name
        for name in rendered.one("Secret", "binder-config")["data"]
        if name.endswith("_config.py")
    )


def test_snippets_come_last_in_the_order_of_their_names(tmp_path: Path) -> None:
    values = {
        **VALUES["to try the pages"],
        "extraConfig": {
            "20-later": "c.JupyterHubBinder.example_name += ' and later'",
            "10-first": "c.JupyterHubBinder.example_name = 'first'",
        },
    }
    assert load_service(render(values), tmp_path).example_name == "first and later"


def test_database_comes_from_its_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = render(VALUES["everything"])
    reference = variables(rendered, "service")["JUPYTERHUB_BINDER_DATABASE_URL"]["secretKeyRef"]
    url = secret_text(rendered.one("Secret", reference["name"]), reference["key"])
    monkeypatch.setenv("JUPYTERHUB_BINDER_DATABASE_URL", url)
    app = load_service(rendered, tmp_path)
    assert app.database_url == "postgresql://binder:secret@db.example.org/binder"


@pytest.mark.parametrize("values", ALL.values(), ids=ALL)
def test_the_real_program_knows_every_option_that_the_chart_sets(
    values: dict[str, Any], tmp_path: Path
) -> None:
    app = load_service(render(values), tmp_path)
    classes = {cls.__name__: cls for cls in app.classes}
    for section, options in app.config.items():
        traits = classes[section].class_traits(config=True)
        assert set(options) <= set(traits), section


def test_service_asks_the_binderhub_beside_it_and_both_know_its_build_tokens(
    tmp_path: Path,
) -> None:
    rendered = render(VALUES["everything"])
    app = load_service(rendered, tmp_path)
    assert app.backend == "binderhub"
    service = rendered.one("Service", "binder-binderhub")
    port = service["spec"]["ports"][0]["port"]
    assert app.config.BinderHubBackend.url == f"http://binder-binderhub:{port}/"
    name = "BINDERHUB_BUILD_TOKEN_SECRET"
    assert variables(rendered, "service")[name] == variables(rendered, "binderhub")[name]
    reference = variables(rendered, "service")[name]["secretKeyRef"]
    assert bytes.fromhex(secret_text(rendered.one("Secret", reference["name"]), reference["key"]))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"Bilds": {"max_running": 3}}, "Did you mean Builds?"),
        ({"Builds": {"max_runing": 3}}, "Did you mean Builds.max_running?"),
        ({"GithubProvider": {"hostname": "x"}}, "Did you mean GitHubProvider?"),
    ],
)
def test_misspelt_option_ends_the_start_and_names_the_nearest(
    config: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load_service(render({"config": {**FAKE["config"], **config}}), tmp_path)
    assert said in capsys.readouterr().err


async def test_probes_are_answered_though_the_hub_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = render(VALUES["a hub in another namespace"])
    (container,) = rendered.pod("service")["spec"]["containers"]
    for name, value in variables(rendered, "service").items():
        monkeypatch.setenv(name, value if isinstance(value, str) else "t" * 32)
    monkeypatch.setenv("JUPYTERHUB_BINDER_DATABASE_URL", f"sqlite:///{tmp_path}/binder.sqlite")
    path = lay_out(rendered.one("Secret", "binder-config"), tmp_path)
    app = JupyterHubBinder()
    app.initialize([f"--config={path}", f"--state-dir={tmp_path}/state", "--port=0"])
    await app.start_service()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{app.port}") as session:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                async with session.get(container[probe]["httpGet"]["path"]) as answer:
                    assert answer.status == 200
            async with session.get("/jupyter/services/environments/health") as answer:
                assert answer.status == 503
    finally:
        await app.stop_service()


# --- BinderHub's configuration --------------------------------------------------------------------


def load_binderhub(rendered: Rendered, folder: Path) -> Config:
    path = lay_out(rendered.one("Secret", "binder-binderhub-config"), folder)
    return PyFileConfigLoader(path.name, path=str(folder)).load_config()


def test_binderhub_builds_and_does_nothing_else(tmp_path: Path) -> None:
    config = load_binderhub(render(VALUES["everything"]), tmp_path)
    assert config.BinderHub.enable_api_only_mode is True
    assert config.GitHubRepoProvider.banned_specs == ["^bad/.*"]
    assert config.KubernetesBuildExecutor.repo2docker_extra_args == ["--target-repo-dir=/srv/repo"]


def test_binderhub_clears_build_pods_away_where_it_makes_them(tmp_path: Path) -> None:
    rendered = render(VALUES["everything"])
    made = load_binderhub(rendered, tmp_path).KubernetesBuildExecutor.namespace
    assert variables(rendered, "binderhub")["BUILD_NAMESPACE"] == made


def test_builders_socket_is_where_binderhub_and_the_cleaner_look(tmp_path: Path) -> None:
    rendered = render(VALUES["everything"])
    socket = load_binderhub(rendered, tmp_path).KubernetesBuildExecutor.docker_host
    (engine,) = rendered.pod("builder")["spec"]["containers"]
    assert f"--host=unix://{socket}" in engine["args"]
    for component in ("builder", "image-cleaner"):
        paths = {
            volume["hostPath"]["path"]
            for volume in rendered.pod(component)["spec"]["volumes"]
            if "hostPath" in volume
        }
        assert str(Path(socket).parent) in paths


def test_binderhub_s_misspelt_options_end_its_start(tmp_path: Path) -> None:
    class KubernetesBuildExecutor(Configurable):
        """Stands for BinderHub's, which is loaded when it reads its configuration."""

        __module__ = "binderhub.build"
        node_selector = Dict(config=True)

    for config, said in (
        ({"KubernetesBuildExecuter": {"node_selector": {}}}, "KubernetesBuildExecutor?"),
        ({"KubernetesBuildExecutor": {"node_selecter": {}}}, "node_selector?"),
    ):
        values = {**VALUES["everything"], "binderhub": {"enabled": True, "config": config}}
        folder = tmp_path / said
        folder.mkdir()
        with pytest.raises(ValueError, match=re.escape(f"Did you mean {said}")):
            load_binderhub(render(values), folder)
    del KubernetesBuildExecutor
    gc.collect()


# --- The registry's credentials: one place ------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "user"),
    [("a BinderHub that is there", "robot"), ("Podman builds", "u"), ("everything", "binder")],
)
def test_one_secret_serves_pushing_looking_up_and_pulling(
    values: str, user: str, tmp_path: Path
) -> None:
    rendered = render(VALUES[values])
    secret = rendered.one("Secret", "binder-registry-credentials")
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert secret["data"][".dockerconfigjson"] == secret["data"]["config.json"]
    assert "pullSecrets: [binder-registry-credentials]" in rendered.notes
    (tmp_path / "config.json").write_text(secret_text(secret, "config.json"))
    host = {
        "a BinderHub that is there": "registry.example.org",
        "Podman builds": "docker.io",
        "everything": "binder-registry.hub.svc.cluster.local:5000",
    }[values]
    found = DockerConfig.read(str(tmp_path), host).kept
    assert found is not None
    assert found.username == user
    for component in {"service", "binderhub"} & dict(rendered.pods()).keys():
        mounted = {
            volume["secret"]["secretName"]
            for volume in rendered.pod(component)["spec"]["volumes"]
            if "secret" in volume
        }
        assert "binder-registry-credentials" in mounted


def test_chart_s_own_registry_takes_those_credentials(tmp_path: Path) -> None:
    rendered = render(VALUES["everything"])
    config = load_binderhub(rendered, tmp_path)
    host = "binder-registry.hub.svc.cluster.local:5000"
    assert config.BinderHub.image_prefix == f"{host}/env-"
    assert config.DockerRegistry.url == f"http://{host}"
    assert config.KubernetesBuildExecutor.push_secret == "binder-registry-credentials"
    (engine,) = rendered.pod("builder")["spec"]["containers"]
    assert f"--insecure-registry={host}" in engine["args"]
    (tmp_path / "config.json").write_text(
        secret_text(rendered.one("Secret", "binder-registry-credentials"), "config.json")
    )
    found = DockerConfig.read(str(tmp_path), host).kept
    registry = rendered.one("Secret", "binder-registry")
    assert found is not None
    assert found.password == secret_text(registry, "password")
    assert secret_text(registry, "htpasswd").startswith("binder:$2")


def test_chart_s_own_registry_keeps_what_is_used() -> None:
    values = {
        **VALUES["everything"],
        "registry": {
            "internal": {
                "enabled": True,
                "nodePort": 30500,
                "keepDays": 10,
                "extraConfig": {"log": {"level": "debug"}},
            }
        },
    }
    config = json.loads(secret_text(render(values).one("Secret", "binder-registry"), "config.json"))
    (policy,) = config["storage"]["retention"]["policies"]
    assert policy["keepTags"] == [
        {"patterns": [".*"], "pulledWithin": "240h", "pushedWithin": "240h"}
    ]
    assert config["storage"]["gc"] is True
    assert config["log"] == {"level": "debug"}
    assert config["http"]["compat"] == ["docker2s2"]


# --- What the notes tell an admin to write --------------------------------------------------------------


def noted_values(rendered: Rendered) -> dict[str, Any]:
    """Return the values of Zero to JupyterHub that the notes give."""
    text = rendered.notes
    begin = text.index("\nhub:\n")
    return yaml.safe_load(text[begin : text.index("\nHelm replaces lists")])


def hub_config(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> Any:
    values = noted_values(rendered)
    monkeypatch.setenv("JUPYTERHUB_BINDER_API_TOKEN", "the token")
    c = Config()
    # As Zero to JupyterHub's own configuration leaves it.
    c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
    c.JupyterHub.services = []
    c.JupyterHub.allow_named_servers = values["hub"]["allowNamedServers"]
    exec(values["hub"]["extraConfig"]["zz-binder"], {"c": c})
    return c


@pytest.mark.parametrize("values", ALL.values(), ids=ALL)
def test_notes_make_the_hub_know_the_service(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = render(values)
    c = hub_config(rendered, monkeypatch)
    (service,) = c.JupyterHub.services
    environment = variables(rendered, "service")
    assert service["name"] == environment["JUPYTERHUB_SERVICE_NAME"]
    assert f"service-{service['name']}" == environment["JUPYTERHUB_CLIENT_ID"]
    assert environment["JUPYTERHUB_SERVICE_PREFIX"].endswith(f"/services/{service['name']}/")
    host, _, port = service["url"].removeprefix("http://").partition(":")
    found = rendered.one("Service", host.partition(".")[0])
    assert found["spec"]["ports"][0]["port"] == int(port)
    assert c.JupyterHub.spawner_class.__name__.startswith("Binder")


def test_hub_with_subdomains_sends_people_back_to_the_services_own_address() -> None:
    address = "https://hub.example.org:8443"
    names = {"publicHost": address, "serviceName": "images", "baseUrl": "/jupyter/"}
    domain = subdomain_hook_idna("images", "hub.example.org", kind="service")
    told = variables(render({**FAKE, "hub": names}), "service")
    assert told["JUPYTERHUB_OAUTH_CALLBACK_URL"] == (
        f"https://{domain}:8443/jupyter/services/images/oauth_callback"
    )
    assert told["JUPYTERHUB_HOST"] == address


def test_notes_name_the_secret_that_has_the_token() -> None:
    rendered = render(VALUES["everything"])
    noted = noted_values(rendered)["hub"]["extraEnv"]["JUPYTERHUB_BINDER_API_TOKEN"]["valueFrom"]
    assert noted == variables(rendered, "service")["JUPYTERHUB_API_TOKEN"]
    assert secret_text(rendered.one("Secret", "binder"), "api-token")


def test_notes_name_the_hubs_image_beside_the_services() -> None:
    for name, tag, theirs in (
        ("jupyterhub-binder", "", "k8s-hub-binder"),
        (
            "registry.example.org:5000/us/service",
            "7",
            "registry.example.org:5000/us/k8s-hub-binder",
        ),
    ):
        rendered = render({**FAKE, "image": {"name": name, "tag": tag}})
        image = noted_values(rendered)["hub"]["image"]
        assert image["name"] == theirs
        version = rendered.one("Deployment", "binder")["metadata"]["labels"]
        assert image["tag"] == (tag or version["app.kubernetes.io/version"])


def test_notes_give_the_next_command() -> None:
    notes = render(VALUES["a hub in another namespace"], namespace="builds").notes
    assert "helm upgrade <its release> jupyterhub/jupyterhub" in notes
    assert "--namespace people --values" in notes


def test_given_token_is_taken() -> None:
    rendered = render(VALUES["one Docker for all"])
    assert secret_text(rendered.one("Secret", "binder"), "api-token") == "0123456789abcdef"


def test_notes_say_what_to_restart_when_the_token_changes() -> None:
    notes = render(VALUES["a hub in another namespace"], namespace="builds").notes
    assert "kubectl -n builds rollout restart deployment/binder" in notes
    assert "kubectl -n people rollout restart deployment/hub" in notes


def test_the_archives_keys_come_from_a_secret_and_are_in_no_configuration(tmp_path: Path) -> None:
    archive = {"url": "s3://launches/hub", "endpoint": "https://s3.example.org"}
    rendered = render({**FAKE, "archive": {**archive, "existingSecret": "archive-keys"}})
    assert load_service(rendered, tmp_path).config.Archive == {**archive, "region": ""}
    found = variables(rendered, "service")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert found[name] == {"secretKeyRef": {"name": "archive-keys", "key": name}}
    assert "AWS_ACCESS_KEY_ID" not in variables(render(FAKE), "service")
