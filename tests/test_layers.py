"""The layers of `CONTRIBUTING.md`: a lower one never imports a higher one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyterhub_binder

PACKAGE = Path(jupyterhub_binder.__file__).parent
LAYERS = {
    0: {
        "model",
        "errors",
        "oversight",
        "inputs",
        "slugs",
        "aio",
        "process",
        "lines",
        "clock",
        "sse",
        "git",
        "remotes",
        "download",
        "sink",
        "units",
        "unpack",
        "archive",
        "clientip",
        "dockerconfig",
        "escapes",
        "logcontext",
        "redact",
        "safeload",
        "_version",
    },
    1: {"providers", "fetch", "gitsync", "recipe", "backends", "registry", "hub", "store"},
    2: {
        "environments",
        "previews",
        "starts",
        "builds",
        "earlierbuilds",
        "buildlog",
        "logpages",
        "buildqueue",
        "buildrun",
        "cleanup",
        "health",
        "launches",
        "launchrun",
        "content",
        "analytics",
        "audit",
        "command",
        "drain",
        "limits",
        "retention",
        "rules",
        "usage",
    },
    3: {"web"},
    4: {
        "app",
        "parts",
        "cli",
        "admincli",
        "envcli",
        "session",
        "demo",
        "client",
        "doctor",
        "dbcli",
        "terminal",
        "follow",
        "logs",
        "__main__",
    },
}
HUB_SIDE = {"spawner", "hubconfig"}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}
LAYER_OF |= dict.fromkeys(HUB_SIDE, 4)


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part != "__init__":
            yield part, path


def imported_parts(path: Path) -> set[str]:
    """Return the package's parts that a module imports, wherever in it, for types too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports from the package's name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("jupyterhub_binder.")}
    return found - {"__version__", "binder_spawner"}


@pytest.mark.parametrize(
    ("part", "path"), list(modules()), ids=lambda value: getattr(value, "name", value)
)
def test_module_imports_no_higher_layer_and_no_sibling(part: str, path: Path) -> None:
    for other in imported_parts(path) - {part}:
        assert other in LAYER_OF, f"{path.name} imports {other}, which has no layer"
        if part in HUB_SIDE:
            assert other in LAYERS[0] | HUB_SIDE, f"{path.name} imports {other}"
        else:
            assert LAYER_OF[other] <= LAYER_OF[part], f"{path.name} imports {other}, a higher layer"
            both = LAYER_OF[other] == LAYER_OF[part] == 1
            assert not both, f"{path.name} imports {other}, a sibling of layer 1"


def test_every_module_has_a_layer() -> None:
    assert {part for part, _ in modules()} <= LAYER_OF.keys()
