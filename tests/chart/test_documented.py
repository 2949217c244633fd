"""Every value is described, is in the reference, and has a default; the JSON schema is up to date."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

from tests.kit.chart import CHART, FAKE, HELM, VALUES, render

ROOT = HELM.parent
YAML = re.compile(r"^ *```yaml\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every value of the schema, by its path."""
    for name, part in schema.get("properties", {}).items():
        yield f"{path}{name}", part
        if "required" in part:
            yield from described(part, f"{path}{name}.")


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Give every object that the schema describes key by key."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        for part in schema.values():
            yield from objects(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_json_schema_is_made_of_what_the_yaml_says() -> None:
    made = load(HELM / "schema.py").make()
    assert made == SCHEMA, "run: make chart"


def test_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_defaults_are_what_the_schema_takes() -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(DEFAULTS)


def test_unknown_keys_are_refused_everywhere() -> None:
    assert all(one.get("additionalProperties") is False for one in objects(SCHEMA))


def test_every_value_is_described() -> None:
    for path, schema in described(SCHEMA):
        text = schema.get("description", "")
        assert text.strip().endswith((".", "```")), path
        assert text[0].isupper() or text[0] == "`", path


def test_schema_and_defaults_have_the_same_keys() -> None:
    def keys(schema: dict[str, Any], values: dict[str, Any], path: str) -> None:
        assert set(values) == set(schema["properties"]) - {"enabled" if not path else ""}, path
        for name, part in schema["properties"].items():
            if "required" in part:
                keys(part, values[name], f"{path}{name}.")

    keys(SCHEMA, DEFAULTS, "")


def test_every_value_is_in_the_reference() -> None:
    text = load(ROOT / "docs" / "_ext" / "reference.py").chart()
    paths = [path for path, _ in described(SCHEMA)]
    assert len(paths) > 150
    for path in paths:
        assert f"## `{path}`\n" in text, path


def test_every_value_is_used_by_a_template() -> None:
    templates = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (CHART / "templates").rglob("*")
        if path.is_file()
    )
    unused = {"enabled", "global"}
    # Passed on as a whole.
    whole = ("probes.",)
    for path, schema in described(SCHEMA):
        if "required" not in schema and path not in unused and not path.startswith(whole):
            assert path.rpartition(".")[2] in templates, path


def test_script_says_when_the_schema_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load(HELM / "schema.py")
    old = tmp_path / "values.schema.json"
    old.write_text("{}")
    monkeypatch.setattr(script, "TARGET", old)
    monkeypatch.setattr(sys, "argv", ["schema.py", "--check"])
    assert script.main() == 1
    assert "make chart" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["schema.py"])
    assert script.main() == 0
    assert json.loads(old.read_text()) == SCHEMA


# --- What is written beside it -----------------------------------------------------------------------


def test_cryptnono_looks_where_builders_are_and_for_what_servers_have() -> None:
    detectors = yaml.safe_load((HELM / "cryptnono.yaml").read_text(encoding="utf-8"))["detectors"]
    rendered = render(VALUES["everything"], name="binder", namespace="hub")
    (engine,) = rendered.pod("builder")["spec"]["containers"]
    for name in ("execwhacker", "tcpflowkiller"):
        assert f"--host=unix://{detectors[name]['dockerHostPath']}" in engine["args"]
    mixin = (ROOT / "jupyterhub_binder" / "spawner" / "mixin.py").read_text(encoding="utf-8")
    for variable in detectors["execwhacker"]["lookupEnvs"]:
        assert f'"{variable}"' in mixin


def test_values_in_the_readme_are_taken() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    found = [yaml.safe_load(textwrap.dedent(block)) for block in YAML.findall(text)]
    values = [one for one in found if "mirrors" not in one]
    assert len(values) >= 4
    for one in values:
        render({**FAKE, **one})
    (mirrors,) = [one["mirrors"] for one in found if "mirrors" in one]
    notes = render(VALUES["everything"]).notes
    for name, mirror in mirrors.items():
        assert name in notes
        assert mirror["endpoint"][0] in notes


def test_readme_names_values_that_are_there() -> None:
    text = (CHART / "README.md").read_text(encoding="utf-8")
    known = {path for path, _ in described(SCHEMA)}
    tops = {path.partition(".")[0] for path in known} - {"singleuser"}
    named = re.findall(r"`([a-zA-Z]+(?:\.[a-zA-Z]+)+)", text)
    for name in named:
        if name.partition(".")[0] in tops and not name.endswith(".example.org"):
            assert any(
                path in (name, name.partition(".config.")[0] + ".config") for path in known
            ), name
