"""The configurations that the walk through the deployments shows are ones that a hub takes."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
from traitlets.config import Config

from jupyterhub_binder.hubconfig import CONFIG_VARIABLE
from jupyterhub_binder.spawner import BinderImageMixin

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deployments.md"
BLOCKS = [
    textwrap.dedent(block)
    for block in re.findall(
        r"^ *```python\n(.*?)^ *```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
]


@pytest.mark.parametrize("block", BLOCKS, ids=["docker", "binderhub"])
def test_configuration_of_the_page_is_taken(block: str) -> None:
    c = Config()
    exec(block, {"c": c})
    [service] = c.JupyterHub.services if isinstance(c.JupyterHub.services, list) else _added(c)
    told = json.loads(service["environment"][CONFIG_VARIABLE])
    assert told["JupyterHubBinder"]["backend"] in block
    assert issubclass(c.JupyterHub.spawner_class, BinderImageMixin)


def _added(c: Config) -> list[dict]:
    return c.JupyterHub.services.to_dict()["extend"]
