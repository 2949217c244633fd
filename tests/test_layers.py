"""The ladder of folders: each imports only from the folders below it, for types too."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import jupyterhub_binder

PACKAGE = Path(jupyterhub_binder.__file__).parent
LADDER = (
    {"_version", "errors", "model"},
    {"utils"},
    {"repositories", "backends", "store", "hub", "client", "spawner", "singleuser", "hubconfig"},
    {"admin"},
    {"builds"},
    {"environments", "maintenance"},
    {"launches"},
    {"web"},
    {"wiring"},
    {"app"},
    {"demo"},
    {"cli"},
    {"__main__"},
)
"""The folders, lowest first. Those on one line do not import each other, but for the lowest line."""
FLOOR = {name: floor for floor, names in enumerate(LADDER) for name in names}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent.name != "smoke_path")
MAX_ENTRIES = 27
SAME_PROCESS = {"hubconfig": {"spawner"}}
"""Who may import a neighbour: `configure` runs in the hub, as the spawners do."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


NAMES = {name_of(path) for path in MODULES}


@functools.cache
def imported_modules(path: Path) -> frozenset[str]:
    """Return our own modules that a module imports, wherever in it."""
    return frozenset(_imports(path) - {name_of(path)})


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports from the package's name"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in NAMES else str(node.module))
    ours = {name for name in found if name.split(".")[0] == PACKAGE.name}
    assert ours <= NAMES, f"{path} imports {sorted(ours - NAMES)}, which is not there"
    return ours


def folder(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_folder_imports_only_what_is_below_it(path: Path) -> None:
    here = folder(name_of(path))
    if not here:  # the package itself re-exports
        return
    for there in {folder(module) for module in imported_modules(path)} - {here, ""}:
        assert FLOOR[there] <= FLOOR[here], f"{path} imports {there}, which is above it"
        if there not in SAME_PROCESS.get(here, ()):
            assert FLOOR[there] < FLOOR[here] or not FLOOR[here], (
                f"{path} imports a neighbour, {there}"
            )


def test_no_module_imports_in_a_circle() -> None:
    # A package's re-exports are for others: what is inside it does not go through them.
    graph = {name_of(path): imported_modules(path) for path in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_ladder_names_what_is_there_and_nothing_else() -> None:
    there = {path.name.removesuffix(".py") for path in _entries() if path.name != "__init__.py"}
    assert there - {"locale", "py.typed"} == FLOOR.keys()


def test_the_package_stays_small_enough_to_read_at_a_glance() -> None:
    assert len(list(_entries())) <= MAX_ENTRIES


def _entries() -> Iterator[Path]:
    return (path for path in PACKAGE.iterdir() if path.name != "__pycache__")


def test_a_class_name_means_one_class() -> None:
    names = Counter(
        node.name
        for path in MODULES
        if "migrations" not in path.parts
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_trees_of_strangers_are_walked_and_removed_by_one_helper() -> None:
    careless = re.compile(r"shutil\.(rmtree|copytree)|os\.walk\(")
    assert [str(path) for path in MODULES if careless.search(path.read_text())] == []


HUB = {"jupyterhub", "traitlets", "tornado", "aiohttp"}
CONTAINERS = {"dockerspawner", "docker", "kubespawner", "kubernetes_asyncio"}
PROCESSES: dict[str, tuple[set[str], tuple[str, ...]]] = {
    "singleuser": (set(), ("singleuser", "utils.trees")),
    "utils/trees.py": (set(), ()),
    "spawner": (HUB | CONTAINERS, ("spawner", "model", "errors", "utils")),
    "hubconfig.py": (HUB, ("hubconfig", "spawner", "model", "errors", "utils", "")),
    "backends/venv/inside": (set(), ()),
    "backends/venv/conda/inside": ({"rattler"}, ()),
    "backends/venv/conda/worker.py": ({"rattler"}, ()),
    "backends/repo2docker/inside": (
        {"repo2docker", "traitlets"},
        ("backends.repo2docker.inside", "backends.repo2docker.builder", "utils"),
    ),
    "backends/smoke_path": (set(), ()),
}
"""Code that runs outside the service: beside the standard library, the packages and our modules that it has."""


@pytest.mark.parametrize("place", PROCESSES)
def test_code_outside_the_service_imports_only_what_its_process_has(place: str) -> None:
    packages, ours = PROCESSES[place]
    root = PACKAGE / place
    for path in [root] if root.is_file() else sorted(root.rglob("*.py")):
        for name in _imported_names(path):
            top, _, inner = name.partition(".")
            if top == PACKAGE.name:
                allowed = any(f"{inner}.".startswith(f"{each}.") for each in ours)
            else:
                allowed = top in sys.stdlib_module_names | packages
            assert allowed, f"{path} imports {name}, which its process need not have"


def _imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_quick_tests_are_there() -> None:
    tests = Path(__file__).parent
    named = [line for line in (tests / "in_process.txt").read_text().split() if "/" in line]
    paths = [name.removeprefix("--deselect=").partition("::")[0] for name in named]
    assert [path for path in paths if not (tests.parent / path).exists()] == []
