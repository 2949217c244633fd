"""Writes the reference pages from what the program itself knows.

Configuration from traits, REST from the OpenAPI description, commands from their own help, the
chart's values from its schema: each is Markdown in ``reference/generated``, included by a page of
the same name.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml
from traitlets import HasTraits, TraitType
from traitlets.config import Configurable

import jupyterhub_binder
from jupyterhub_binder.builds.explain.rules import FailureRule, own_rules
from jupyterhub_binder.cli import main
from jupyterhub_binder.web.api.service import description

CHART = Path(__file__).parents[2] / "helm" / "jupyterhub-binder"

# What runs inside another program, which sets its options or cannot import it by itself.
SKIPPED = (
    "jupyterhub_binder.demo.jupyterhub_config",
    "jupyterhub_binder.store.migrations.",
    "jupyterhub_binder.backends.repo2docker.inside.buildpack",
    "jupyterhub_binder.backends.repo2docker.inside.engine",
)


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_all(app: Any) -> None:
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(exist_ok=True)
    pages = {
        "configuration": configuration(),
        "rest": rest(),
        "cli": commands(),
        "chart": chart(),
        "failures": failures(),
    }
    for name, text in pages.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


# --- Configuration ------------------------------------------------------------------------------


def configurables() -> list[type[Configurable]]:
    """Return every class of the package that has options of its own, by name."""
    found = set()
    for info in pkgutil.walk_packages(jupyterhub_binder.__path__, "jupyterhub_binder."):
        if info.name.startswith(SKIPPED) or info.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(info.name)).values():
            if _is_ours(value) and own_traits(value):
                found.add(value)
    order = {"JupyterHubBinder": 0, "BinderSpawnerMixin": 2}
    return sorted(found, key=lambda cls: (order.get(cls.__name__, 1), cls.__name__))


def _is_ours(value: Any) -> bool:
    ours = inspect.isclass(value) and value.__module__.startswith("jupyterhub_binder")
    return ours and issubclass(value, HasTraits)


def own_traits(cls: type[HasTraits]) -> dict[str, TraitType]:
    """Return the options that a class adds to those of its bases."""
    return {
        name: trait
        for name, trait in sorted(cls.class_traits(config=True).items())
        if trait.this_class is not None and trait.this_class is cls
    }


def configuration() -> str:
    parts = []
    for cls in configurables():
        parts += [f"## {cls.__name__}", _first_paragraph(cls.__doc__)]
        for name, trait in own_traits(cls).items():
            parts += [
                f"### `{cls.__name__}.{name}`",
                f"{_kind(trait)}{_default(cls, name, trait)}",
                inspect.cleandoc(trait.help or ""),
            ]
    return "\n\n".join(parts) + "\n"


def _first_paragraph(text: str | None) -> str:
    return inspect.cleandoc(text or "").partition("\n\n")[0]


def _kind(trait: TraitType) -> str:
    inner = getattr(trait, "_trait", None)
    of = f" of {type(inner).__name__}" if inner is not None else ""
    values = getattr(trait, "values", None)
    one_of = f", one of {', '.join(f'`{v!r}`' for v in values)}" if values else ""
    return f"*{type(trait).__name__}{of}*{one_of}"


def _default(cls: type, name: str, trait: TraitType) -> str:
    generated = any(
        name in vars(base).get("_trait_default_generators", {}) or hasattr(base, f"_{name}_default")
        for base in cls.__mro__
    )
    return "" if generated else f", default `{trait.default_value_repr()}`"


# --- REST -----------------------------------------------------------------------------------------


def rest() -> str:
    document = json.loads(description("/services/binder/"))
    parts = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                parts += _operation(
                    path, method, operation, methods.get("parameters", []), document
                )
    parts += ["## Objects"]
    for name, schema in document["components"]["schemas"].items():
        parts += [f"### {name}", schema.get("description", ""), _fields(schema)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _operation(
    path: str, method: str, operation: dict, shared: list, document: dict
) -> Iterator[str]:
    yield f"## `{method.upper()} {path}`"
    yield operation.get("summary", "")
    yield operation.get("description", "")
    parameters = [_resolve(p, document) for p in [*shared, *operation.get("parameters", [])]]
    if parameters:
        rows = [
            f"| `{p['name']}` | {p['in']} | {_cell(p.get('description', ''))} |" for p in parameters
        ]
        yield "\n".join(["| Parameter | In | |", "|---|---|---|", *rows])
    if body := operation.get("requestBody"):
        content = next(iter(_resolve(body, document)["content"].values()))
        yield f"Takes {_type(content['schema'])}."
        yield _example(content)
    yield _answers(operation, document)


def _answers(operation: dict, document: dict) -> str:
    rows, example = [], ""
    for status, answer in operation["responses"].items():
        answer = _resolve(answer, document)
        content = next(iter(answer.get("content", {}).values()), {})
        kind = _type(content["schema"]) if "schema" in content else ""
        rows.append(f"| {status} | {_cell(answer.get('description', ''))} | {kind} |")
        if str(status).startswith("2") and not example:
            example = _example(content)
    table = "\n".join(["| Status | | Answer |", "|---|---|---|", *rows])
    return f"{table}\n\n{example}"


def _example(content: dict) -> str:
    if "example" not in content:
        return ""
    example = content["example"]
    text = example if isinstance(example, str) else json.dumps(example, indent=2)
    language = "text" if isinstance(example, str) else "json"
    return f"```{language}\n{text.rstrip()}\n```"


def _resolve(thing: dict, document: dict) -> dict:
    while "$ref" in thing:
        found: Any = document
        for part in thing["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        thing = found
    return thing


def _type(schema: Any) -> str:
    if not isinstance(schema, dict) or not schema:
        return "anything"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(_type(one) for one in schema[key])
    if "enum" in schema:
        return " ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    kinds = schema.get("type", "anything")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return " or ".join(
        f"list of {_type(schema.get('items', {}))}" if k == "array" else k for k in kinds
    )


def _fields(schema: dict) -> str:
    if not schema.get("properties"):
        return _type(schema)
    rows = [
        f"| `{name}` | {_type(field)} | {_cell(field.get('description', ''))} |"
        for name, field in schema["properties"].items()
    ]
    return "\n".join(["| Field | Kind | |", "|---|---|---|", *rows])


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


# --- Commands -------------------------------------------------------------------------------------


def commands() -> str:
    parts = []
    for name, command in main.commands.items():
        context = click.Context(
            command, info_name=name, parent=click.Context(main, info_name=main_name())
        )
        parts += [f"## {name}", f"```text\n{command.get_help(context)}\n```"]
        for below, part in getattr(command, "commands", {}).items():
            inner = click.Context(part, info_name=below, parent=context)
            parts += [f"### {name} {below}", f"```text\n{part.get_help(inner)}\n```"]
    whole = main.get_help(click.Context(main, info_name=main_name()))
    status = whole[whole.index("Exit status:") :]
    return (
        "\n\n".join([*parts, "## Exit status", f"```text\n{inspect.cleandoc(status)}\n```"]) + "\n"
    )


def main_name() -> str:
    return "jupyterhub-binder"


# --- Failures -------------------------------------------------------------------------------------


def failures() -> str:
    rows = ["| Rule | Who can fix it | What people read | Ways out |", "|---|---|---|---|"]
    rows += [_failure(rule) for rule in own_rules()]
    return "\n".join(rows) + "\n"


def _failure(rule: FailureRule) -> str:
    says = re.sub(r"%\((\w+)\)s", r"*\1*", rule.says).replace("%%", "%").replace("|", "\\|")
    codes = ", ".join(f"`{code}`" for code in (*rule.codes, *rule.fallback))
    said = says or f"the service's own sentence, for {codes}"
    return f"| `{rule.id}` | {rule.owner} | {said} | {', '.join(rule.ways)} |"


# --- The chart's values ---------------------------------------------------------------------------


def chart() -> str:
    schema = yaml.safe_load((CHART / "values.schema.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    parts = []
    for name, part in schema["properties"].items():
        parts += _value(name, part, values.get(name), level="##")
    return "\n\n".join(part for part in parts if part) + "\n"


def _value(name: str, schema: dict, default: Any, *, level: str) -> Iterator[str]:
    """Describe one value, then what is in it."""
    inner = {} if schema.get("x-kubernetes") else schema.get("properties", {})
    yield f"{level} `{name}`"
    yield schema["description"].strip()
    if not inner:
        yield f"*{_value_kind(schema)}*{_value_default(default)}"
    for key, part in inner.items():
        yield from _value(f"{name}.{key}", part, (default or {}).get(key), level="###")


def _value_kind(schema: dict) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    kind = {"object": "map", "array": "list", "integer": "number"}.get(schema["type"])
    return kind or schema["type"]


def _value_default(default: Any) -> str:
    return "" if default is None else f", default `{json.dumps(default)}`"
