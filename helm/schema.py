"""Makes the chart's values.schema.json of values.schema.yaml; `--check` says whether it is up to date.

What each value means is written in the YAML; what holds for every object is added here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "jupyterhub-binder"
SOURCE = CHART / "values.schema.yaml"
TARGET = CHART / "values.schema.json"

OPTIONAL = {"enabled"}
"""Top-level keys that values.yaml does not have."""


def make() -> dict[str, Any]:
    """Return the schema as Helm reads it."""
    source = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    source.pop("x-shared")
    made = _complete(source)
    made["required"] = [name for name in made["required"] if name not in OPTIONAL]
    return {"$schema": "http://json-schema.org/draft-07/schema#", **made}


def _complete(schema: Any) -> Any:
    """Let objects refuse what they do not know, and miss what they need."""
    if not isinstance(schema, dict):
        return schema
    made = {key: _complete_part(key, part) for key, part in schema.items() if key[:2] != "x-"}
    if "properties" in made and not schema.get("x-kubernetes"):
        made.setdefault("additionalProperties", False)
        made.setdefault("required", list(made["properties"]))
    return made


def _complete_part(key: str, part: Any) -> Any:
    if key == "properties":
        return {name: _complete(schema) for name, schema in part.items()}
    if key in ("oneOf", "anyOf", "allOf"):
        return [_complete(schema) for schema in part]
    if key in ("items", "additionalProperties", "propertyNames"):
        return _complete(part)
    return " ".join(part.split()) if key == "description" and "```" not in part else part


def main() -> int:
    """Write the schema, or with --check say whether that is needed."""
    text = json.dumps(make(), indent=1, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET} is older than {SOURCE.name}: make chart", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
