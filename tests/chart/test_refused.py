"""Values that cannot be meant are refused, with the key in the message or a sentence to act on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.chart import FAKE, helm_python, render

REFUSED_BY_SCHEMA: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"confg": {}}, "confg"),
    "an unknown key below": ({"hub": {"apiURL": "http://x"}}, "apiURL"),
    "an unknown key far below": (
        {"registry": {"internal": {"persistence": {"storageClass": "x"}}}},
        "storageClass",
    ),
    "replicas": ({"replicas": 2}, "replicas"),
    "a text for a number": ({"service": {"port": "10101"}}, "port"),
    "a port that is none": (
        {"networkPolicy": {"people": {"internetPorts": [70000]}}},
        "internetPorts",
    ),
    "options that are no class": ({"config": {"builds": {"max_running": 4}}}, "builds"),
    "options that are no map": ({"config": {"Builds": 4}}, "Builds"),
    "a variable that is no text": ({"extraEnv": {"A": 1}}, "extraEnv"),
    "a base URL without its slash": ({"hub": {"baseUrl": "/hub"}}, "baseUrl"),
    "a short token": ({"hub": {"apiToken": "short"}}, "apiToken"),
    "a build token that is not hexadecimal": (
        {"binderhub": {"buildToken": {"secret": "not hex"}}},
        "secret",
    ),
    "an unknown kind of builder": ({"binderhub": {"builder": {"type": "kaniko"}}}, "type"),
    "an image with its tag in its name's place": ({"image": {"tag": "a b"}}, "tag"),
    "a database that is no PostgreSQL": ({"database": {"url": "mysql://x"}}, "url"),
    "storage of no size": ({"persistence": {"size": "much"}}, "size"),
    "a pull policy in lower case": ({"image": {"pullPolicy": "always"}}, "pullPolicy"),
    "a node's port that Kubernetes gives to nobody": (
        {"registry": {"internal": {"nodePort": 5000}}},
        "nodePort",
    ),
    "retention of no days": ({"registry": {"internal": {"keepDays": 0}}}, "keepDays"),
    "a schedule that is none": ({"backup": {"schedule": "nightly"}}, "schedule"),
    "backups of which none is kept": ({"backup": {"keep": 0}}, "keep"),
    "the removal of what is needed": ({"networkPolicy": {"people": None}}, "people"),
}

FOLDERS: dict[str, Any] = {"config": {}, "builder": {"type": "folders"}}
EXTERNAL = {"imagePrefix": "example.org/env-"}

REFUSED_TOGETHER: dict[str, tuple[dict[str, Any], str]] = {
    "nothing that builds": ({"config": {}}, "nothing that builds"),
    "venv without a volume": (
        {"config": {"JupyterHubBinder": {"backend": "venv"}}},
        "builder.type: folders",
    ),
    "folders and another backend": (
        {**FOLDERS, "config": {"JupyterHubBinder": {"backend": "fake"}}},
        "Leave one of them out",
    ),
    "folders that no server could mount": (
        {**FOLDERS, "hub": {"namespace": "people"}},
        "the hub's namespace",
    ),
    "folders without network policies": (
        {**FOLDERS, "networkPolicy": {"enabled": False}},
        "networkPolicy.enabled",
    ),
    "folders of root": (
        {**FOLDERS, "podSecurityContext": {"runAsUser": 0}},
        "must not be root",
    ),
    "folders for one pod": (
        {
            "config": {},
            "builder": {
                "type": "folders",
                "folders": {"persistence": {"accessModes": ["ReadWriteOncePod"]}},
            },
        },
        "ReadWriteMany for several",
    ),
    "a database that is lost": ({"persistence": {"enabled": False}}, "persistence.enabled"),
    "a backup of a volume for one pod": (
        {"backup": {"enabled": True}, "persistence": {"accessModes": ["ReadWriteOncePod"]}},
        "persistence.accessModes",
    ),
    "two databases": (
        {"database": {"url": "postgresql://h/d", "existingSecret": {"name": "s"}}},
        "the same thing twice",
    ),
    "BinderHub without a registry": ({"binderhub": {"enabled": True}}, "registry.imagePrefix"),
    "builders apart without a registry": (
        {"binderhub": {"enabled": True}, "registry": {"enabled": False}},
        "builder.type: host",
    ),
    "a user without a password": ({"registry": {**EXTERNAL, "username": "u"}}, "give both"),
    "credentials twice": (
        {"registry": {**EXTERNAL, "existingSecret": "s", "username": "u", "password": "p"}},
        "registry.existingSecret",
    ),
    "a secret for the chart's own registry": (
        {"registry": {"existingSecret": "s", "internal": {"enabled": True}}},
        "makes its credentials",
    ),
    "a registry that is off and on": (
        {"registry": {"enabled": False, "internal": {"enabled": True}}},
        "registry.internal.enabled",
    ),
    "a registry's URL for the beginning of names": (
        {"registry": {"imagePrefix": "https://registry.example.org/env-"}},
        "write registry.example.org/env-",
    ),
    "a beginning of names without a registry": (
        {"registry": {"imagePrefix": "env-"}},
        "names no registry and account",
    ),
    "a registry that no node can reach": (
        {"registry": {"internal": {"enabled": True}}},
        "registry.internal.nodePort",
    ),
    "a name of an image with its tag": ({"image": {"name": "example.org:5000/us/it:1"}}, "tag"),
    "a name of an image with a digest": ({"image": {"name": "it@sha256:00"}}, "tag"),
    "a URL for a name of an image": ({"image": {"name": "https://example.org/it"}}, "https://"),
    "BinderHub's image with its tag": (
        {
            "binderhub": {"enabled": True, "image": {"name": "quay.io/it:1"}},
            "registry": EXTERNAL,
        },
        "quay.io/it:1",
    ),
    "metrics without a token": ({"metrics": {"serviceMonitor": {"enabled": True}}}, "tokenSecret"),
    "a cleaner without builders": ({"imageCleaner": {"enabled": True}}, "no builders to clean"),
    "a cleaner that cleans nothing": (
        {
            "binderhub": {"builder": {"type": "host"}},
            "imageCleaner": {"enabled": True, "prune": {"enabled": False}},
        },
        "imageCleaner.prune",
    ),
}


@pytest.mark.parametrize(("values", "said"), REFUSED_BY_SCHEMA.values(), ids=REFUSED_BY_SCHEMA)
def test_schema_refuses(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError) as caught:
        render({**FAKE, **values})
    assert said in str(caught.value)


@pytest.mark.parametrize(("values", "said"), REFUSED_TOGETHER.values(), ids=REFUSED_TOGETHER)
def test_values_that_do_not_go_together_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError) as caught:
        render({**FAKE, **values})
    assert said in str(caught.value)


def test_open_metrics_need_no_token() -> None:
    config = {"JupyterHubBinder": {"backend": "fake", "authenticate_metrics": False}}
    rendered = render({"config": config, "metrics": {"serviceMonitor": {"enabled": True}}})
    (endpoint,) = rendered.one("ServiceMonitor", "binder")["spec"]["endpoints"]
    assert "authorization" not in endpoint
