"""The pages over things that were made up: every state at once, without a hub or a build.

For screenshots, and for work on templates and styles: `python -m tests.kit.canned` serves
them at http://127.0.0.1:8899/services/binder/. What is tested of behaviour has the real service.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, StaticFileHandler

from jupyterhub_binder.backends.base import Choice, HostState, HostStatus, Pythons
from jupyterhub_binder.backends.venv.backend import VenvBackend
from jupyterhub_binder.builds.service import BuildProgress, QueueState
from jupyterhub_binder.environments.applications import find_applications
from jupyterhub_binder.environments.gallery import FeaturedEnvironment
from jupyterhub_binder.environments.inventories import Contents, PackageComparison
from jupyterhub_binder.environments.reproductions import Reproduction
from jupyterhub_binder.environments.sharing import Shares
from jupyterhub_binder.errors import Conflict, NotFound, RepositoryNotFound
from jupyterhub_binder.launches.service import Server, StoppedServers
from jupyterhub_binder.model import (
    Assessment,
    Build,
    BuildEvent,
    BuildRequest,
    BuildState,
    Commit,
    ContentMode,
    Environment,
    Finding,
    Launch,
    LaunchState,
    Link,
    Page,
    Phase,
    Reason,
    Recipe,
    RecipeAction,
    RecipeFile,
    RefKind,
    Resolved,
    Severity,
    Spec,
)
from jupyterhub_binder.model.failures import Explanation, Owner, Way, WayKind
from jupyterhub_binder.model.history import Change, ChangeCause
from jupyterhub_binder.model.inventory import Difference, Inventory, Package, PackageChange
from jupyterhub_binder.model.preferences import Preference
from jupyterhub_binder.model.profiles import Profile, ProfileChoice, ProfileOption
from jupyterhub_binder.model.receipt import SignedReceipt
from jupyterhub_binder.model.sharing import (
    OthersUse,
    Right,
    Share,
    Subject,
    SubjectKind,
    Transfer,
)
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.repositories.listing import FileListing, choose
from jupyterhub_binder.web.pages import make_page_settings, page_handlers
from jupyterhub_binder.web.pages.admin import admin_handlers
from jupyterhub_binder.web.pages.templates import hub_template_folders
from jupyterhub_binder.web.services import Traffic
from tests.kit.canned_gallery import CannedGallery, PictureOf
from tests.kit.canned_prebuild import CannedHooks, CannedPrebuilds
from tests.kit.canned_upstream import CannedUpstreams

PREFIX = "/services/binder/"
SHA = "4f2c91a7be0d5c1f83aa2f8d9915e6d1b7c05a3e"
NOW = datetime.now(UTC)
HOSTILE = '<img src=x onerror="document.title=1">\u202egpj.exe'


AS_ROOT = {"X-As": "root"}
"""Headers of somebody who is an administrator on every page."""
LONG_PERSON = "n" * 200


def make_build(number: int, state: BuildState, phase: Phase, **changes: Any) -> Build:
    finished = NOW - timedelta(hours=3) if state.finished else None
    build = Build(
        id=f"b{number:09}",
        base_key=f"key{number}",
        generation=0,
        spec=Spec("gh", "uni-lab/climate-101", "main"),
        resolved_ref=SHA,
        label="github.com/uni-lab/climate-101",
        repo_url="https://github.com/uni-lab/climate-101",
        clone_url="https://github.com/uni-lab/climate-101",
        options={},
        backend="venv",
        state=state,
        phase=phase,
        created=(finished or NOW) - timedelta(seconds=127 if finished else 87),
        created_by="alice",
        started=NOW - timedelta(hours=3, seconds=124) if finished else NOW - timedelta(seconds=84),
        finished=finished,
        size_bytes=1_204_000_000 if state is BuildState.BUILT else None,
        lines=127,
    )
    return replace(build, **changes)


def make_environment(
    number: int, name: str, build: Build | None, current: Build | None = None, **changes: Any
) -> Environment:
    def ask(build: Build | None, count: int) -> BuildRequest | None:
        if build is None:
            return None
        return BuildRequest(f"e{number:09}", count, build, build.created, "alice")

    spec = build.spec if build else Spec("gh", "uni-lab/climate-101", "main")
    latest = ask(build, 2 if current else 1)
    built = latest if build and build.state is BuildState.BUILT else ask(current, 1)
    environment = Environment(
        id=f"e{number:09}",
        owner="alice",
        name=name,
        spec=spec,
        label=build.label if build else "github.com/uni-lab/climate-101",
        repo_url=build.repo_url if build else "https://github.com/uni-lab/climate-101",
        path="",
        content=ContentMode.COPY,
        directory="climate-101",
        options={},
        created=NOW - timedelta(days=3),
        updated=NOW,
        current=built,
        latest=latest,
        launched=NOW - timedelta(hours=2) if built else None,
    )
    return replace(environment, **changes)


EXPLAINED = Explanation(
    rule="package-version-not-found",
    owner=Owner.REPOSITORY,
    line="Because there is no version of numpy==1.19.5 for Python 3.12 and you require numpy==1.19.5, "
    "we can conclude that your requirements are unsatisfiable.",
    ways=(
        Way(
            WayKind.OPEN,
            Message("Open %(path)s, line %(number)s", path="binder/environment.yml", number=7),
            "https://gitlab.com/folding/workshop/-/blob/7be9a44/binder/environment.yml#L7",
        ),
        Way(WayKind.NEWEST, Message("Build the newest commit")),
        Way(WayKind.ADVICE, Message("Say python=3.9 in environment.yml.")),
    ),
)
UNEXPLAINED = Explanation(
    line=HOSTILE + "=" * 200,
    ways=(
        Way(WayKind.AGAIN, Message("Build again")),
        Way(WayKind.ADMIN, Message("Copy for your administrator")),
    ),
    fingerprint="5d1c8a90e2f7",
)


def all_states() -> tuple[Environment, ...]:
    built = make_build(1, BuildState.BUILT, Phase.BUILT)
    running = make_build(
        2,
        BuildState.RUNNING,
        Phase.BUILDING,
        spec=Spec("git", "git.example.org/methods/survey", "v2.1"),
        label="git.example.org/methods/survey",
        repo_url="https://git.example.org/methods/survey",
        resolved_ref="90ab3de" + SHA[7:],
    )
    queued = make_build(
        3,
        BuildState.PENDING,
        Phase.WAITING,
        spec=Spec("gh", "letters-lab/editions", "main"),
        label="github.com/letters-lab/editions",
        resolved_ref="c81d5e0" + SHA[7:],
        started=None,
    )
    failed = make_build(
        4,
        BuildState.FAILED,
        Phase.FAILED,
        spec=Spec("gl", "folding/workshop", "main"),
        label="gitlab.com/folding/workshop",
        resolved_ref="7be9a44" + SHA[7:],
        reason=Reason(
            "build_failed",
            "numpy 1.19 has no build for Python 3.12. Pin python=3.9 in environment.yml, "
            "or raise numpy.",
            124,
            EXPLAINED,
        ),
    )
    earlier = replace(
        failed,
        id="b000000014",
        resolved_ref="1d06f2b" + SHA[7:],
        state=BuildState.BUILT,
        phase=Phase.BUILT,
        finished=NOW - timedelta(days=5),
        reason=None,
        size_bytes=890_000_000,
    )
    cancelled = make_build(5, BuildState.CANCELLED, Phase.BUILDING)
    hostile = make_build(
        6,
        BuildState.FAILED,
        Phase.FAILED,
        label=f"github.com/{'very-long-organisation' * 6}/{'name' * 20}",
        repo_url=f"https://github.com/{'very-long-organisation' * 6}/{'name' * 20}",
        created_by=LONG_PERSON,
        spec=Spec("gh", "x/y", "feature/" + "long-" * 30),
        reason=Reason("build_failed", HOSTILE + " " + "word" * 60, 3, UNEXPLAINED),
    )
    return (
        make_environment(1, "Climate indices, spring course", built),
        make_environment(2, "Survey methods", running),
        make_environment(3, "Digital editions", queued),
        make_environment(
            4,
            "Protein folding workshop",
            failed,
            current=earlier,
            created=NOW - timedelta(days=6),
            launched=NOW - timedelta(days=4),
        ),
        make_environment(5, "Only an idea", None, launched=None),
        make_environment(6, "Stopped half way", cancelled),
        make_environment(7, HOSTILE, hostile),
        make_environment(8, "An environment whose name never ends " * 5, built),
        make_environment(
            9, "Rebuilt under a server", replace(built, id="b000000019", image="new"), earlier
        ),
    )


INSTALLED = (
    "anyio==4.6.2",
    "attrs==24.2.0",
    "babel==2.16.0",
    "bokeh==3.6.1",
    "certifi==2024.8.30",
    "dask==2024.11.2",
    "geopandas==1.0.1",
    "ipykernel==6.29.5",
    "ipywidgets==8.1.5",
    "jinja2==3.1.4",
    "jupyterlab==4.3.1",
    "matplotlib==3.9.2",
    "networkx==3.4.2",
    "numpy==2.1.3",
    "pandas==2.2.3",
    "plotly==5.24.1",
    "pyarrow==18.0.0",
    "pyproj==3.7.0",
    "scikit-learn==1.5.2",
    "scipy==1.14.1",
    "seaborn==0.13.2",
    "shapely==2.0.6",
    "statsmodels==0.14.4",
    "xarray==2024.10.0",
)


def log_lines(build: Build) -> tuple[BuildEvent, ...]:
    """Return a log of 127 lines; that of an ended build has an error and hostile text in it."""
    texts = _ended_texts() if build.state.finished else _running_texts(build)
    start = build.started or NOW
    return tuple(
        BuildEvent(n, start + timedelta(seconds=n), Phase.FETCHING if n < 3 else Phase.BUILDING, t)
        for n, t in enumerate(texts, 1)
    )


def _running_texts(build: Build) -> list[str]:
    return [
        f"Fetching \x1b[36m{build.repo_url}\x1b[0m",
        "Resolved \x1b[1m98 packages\x1b[0m in 1.21s",
        *(f"Downloaded {n} of 98" for n in range(1, 99)),
        "\x1b[32mPrepared 98 packages in 22.41s\x1b[0m",
        "\x1b[32mInstalled 98 packages in 3.02s\x1b[0m",
        *(f" \x1b[32m+\x1b[0m {package}" for package in INSTALLED),
        "Enabling the extension jupyterlab-git",
    ]


def _ended_texts() -> list[str]:
    return (
        ["Fetching \x1b[36mhttps://github.com/uni-lab/climate-101\x1b[0m"]
        + [f"\x1b[34m#14\x1b[0m Downloading package {n} of 142" for n in range(1, 100)]
        + ["Resolved \x1b[1m142 packages\x1b[0m in 1.21s"]
        + [f"Downloading pandas {'━' * n}{' ' * (20 - n)} {n * 5}%\r" for n in range(1, 20)]
        + [
            "Downloading pandas ━━━━━━━━━━━━━━━━━━━━ 100%",
            "\x1b[32mPrepared 142 packages in 22.41s\x1b[0m",
            "\x1b[33mwarning: `kernelspec` of R is installed by postBuild\x1b[0m",
            "\x1b[31;1merror:\x1b[0m no matching distribution found for numpy==1.19",
            "\x1b[38;2;255;150;80mtrue colour\x1b[0m \x1b[48;5;25mindexed\x1b[0m \x1b[7mswapped\x1b[0m",
            "<b>not bold</b> \u202egnp.exe\u202c \x00 " + "long " * 60,
            "Building jupyterlab assets",
        ]
    )


def right_of(environment: Environment) -> Right:
    """Grace's may be managed, others' launched."""
    rights = {"alice": Right.OWN, "grace": Right.MANAGE}
    return rights.get(environment.owner, Right.LAUNCH)


class Shared:
    """Stands for shares and offers."""

    async def fetch(self, user: Any, environment_id: str) -> Any:
        if environment_id != "e000000001":
            return Shares((), OthersUse())
        given = (("everyone", ""), ("group", "astronomy"), ("user", "grace"), ("user", HOSTILE))
        shares = [
            Share(
                Subject(SubjectKind(kind), name),
                Right.MANAGE if name == "grace" else Right.LAUNCH,
                NOW,
                "alice",
            )
            for kind, name in given
        ]
        return Shares(tuple(shares), OthersUse(23, NOW - timedelta(days=2)))

    async def fetch_use(self, environments: Any) -> dict[str, OthersUse]:
        return {"e000000001": OthersUse(23, NOW - timedelta(days=2))}


class Offers:
    """Stands for offers: one for those who look, if an environment is grace's."""

    def __init__(self, environments: tuple[Environment, ...]) -> None:
        self._of = [each for each in environments if each.owner == "grace"]

    async def fetch(self, user: Any, environment_id: str) -> Any:
        raise NotFound("It is not offered to anybody.")

    async def list(self, user: Any) -> Any:
        until = NOW + timedelta(days=6)
        return [
            SimpleNamespace(
                environment=each, transfer=Transfer(each.id, "alice", "grace", NOW, until)
            )
            for each in self._of
        ]


class CannedRequests:
    """Their build requests."""

    def __init__(self, environments: Mapping[str, Any]) -> None:
        self.all = environments

    async def list(self, user: Any, environment_id: str, **_: Any) -> Page[BuildRequest]:
        env = self.all[environment_id]
        older = [
            BuildRequest(
                env.id,
                n,
                make_build(90 + n, s, Phase.BUILT, image="old" if n == 1 else None),
                NOW - timedelta(days=n),
                "a",
            )
            for n, s in ((2, BuildState.BUILT), (1, BuildState.CANCELLED))
        ]
        newest = [env.latest] if env.latest is env.current else [env.latest, env.current]
        items = [r for r in newest if r] + older
        return Page(tuple(items), len(items), 0, 50)

    async def get(self, user: Any, environment_id: str, number: int) -> BuildRequest:
        found = (await self.list(user, environment_id)).items
        try:
            return next(each for each in found if each.number == number)
        except StopIteration:
            raise NotFound("There is no such build.") from None

    async def changes(self, user: Any, environment_id: str, **_: Any) -> Page[Change]:
        told = (
            (2, 1, ChangeCause.ROLLED_BACK, "numpy 2.1 breaks exercise 4 " + "of week two " * 12),
            (1, 2, ChangeCause.BY_ITSELF, ""),
            (None, 1, ChangeCause.ASKED, ""),
        )
        items = [
            Change(environment_id, 3 - n, before, to, "alice", cause, why, NOW - timedelta(days=n))
            for n, (before, to, cause, why) in enumerate(told)
        ]
        return Page(tuple(items), len(items), 0, 20)

    async def of_build(self, user: Any, build_id: str) -> tuple[Any, Any, Any]:
        for env in self.all.values():
            for request in (env.latest, env.current):
                if request and request.build.id == build_id:
                    return request.build, env, request
        raise NotFound("There is no such build.")


class Everything:
    """Stands for the environments, builds and launches of the service."""

    def __init__(self, environments: tuple[Environment, ...]) -> None:
        self.all = {each.id: each for each in environments}
        self.deleted: dict[str, Environment] = {}
        self.running = list(self.all)[7:]
        self.asked_again = asyncio.Event()
        """Set by a preview of what is not slow; one of what is slow waits for it."""
        self.under_way = 0
        """Launches."""

    # Environments
    async def list(
        self, user: Any, *, search: str, offset: int, limit: int, owner: str = "*", **_: Any
    ) -> Any:
        found = [e for e in self.all.values() if search.lower() in e.name.lower()]
        found = [e for e in found if owner in ("*", e.owner)]
        found = [replace(each, right=right_of(each)) for each in found]
        found.sort(key=lambda each: each.right != Right.OWN)
        return Page(tuple(found[offset : offset + limit]), len(found), offset, limit)

    async def get(self, user: Any, environment_id: str, **_: Any) -> Any:
        if environment_id.startswith("x"):
            return self._launch(environment_id)
        try:
            environment = self.all[environment_id]
            return replace(environment, right=right_of(environment))
        except KeyError:
            raise NotFound("There is no such environment.") from None

    @property
    def requests(self) -> CannedRequests:
        return CannedRequests(self.all)

    async def get_deleted(self, user: Any, environment_id: str) -> Environment:
        try:
            return self.deleted[environment_id]
        except KeyError:
            raise NotFound("There is no such environment.") from None

    async def recall(self, user: Any, environment_id: str) -> Environment:
        return self.all.get(environment_id) or await self.get_deleted(user, environment_id)

    async def delete(self, user: Any, environment_id: str) -> Environment:
        self.deleted[environment_id] = self.all.pop(environment_id)
        return self.deleted[environment_id]

    async def fetch(self, user: Any, build_id: str) -> Contents:
        build, environment, request = await self.requests.of_build(user, build_id)
        packages = tuple(Package(*line.split("==")) for line in INSTALLED)
        known = build.state is BuildState.BUILT and build.id != "b000000014"
        inventory = Inventory(packages, tools={"python": "3.12.3", "uv": "0.9.1"})
        return Contents(build, environment, request, inventory if known else None)

    async def list_choices(self, user: Any, contents: Contents) -> tuple[BuildRequest, ...]:
        return (await self.requests.list(user, contents.environment.id)).items  # type: ignore[union-attr]

    async def compare_with(self, user: Any, contents: Contents, number: Any = None) -> Any:
        items = (await self.requests.list(user, contents.environment.id)).items  # type: ignore[union-attr]
        return await self.compare(items[-1], items[0])

    async def compare(self, before: BuildRequest, after: BuildRequest) -> PackageComparison:
        changed = (
            PackageChange("numpy", "pip", "1.26.4", "2.1.3"),
            PackageChange("a-package-whose-name-" + "never-ends-" * 8, "pip", "1", "2.0.0.post1"),
        )
        added, removed = (Package("polars", "1.9.0"),), (Package("six", "1.16.0"),)
        return PackageComparison(before, after, Difference(added, removed, changed))

    async def plan(self, signed: Any) -> Reproduction:
        exact = signed.receipt["backend"] == "venv"
        notes = (
            Message("The packages are installed in the versions of the receipt.")
            if exact
            else Message("It was built with repo2docker; this hub builds with venv."),
        )
        spec = Spec("gh", signed.receipt["repository"]["repo"], SHA)
        return Reproduction(spec, {}, exact, "3d0941964aa3ebdc", exact, notes)

    def why_unknown(self, build: Build) -> str:
        return "A BinderHub does not say which packages are in an image."

    async def is_there(self, build: Build) -> bool:
        return build.image != "old"

    async def expected_seconds(self, repository: str) -> float:
        return 124.0

    async def limits(self, user: Any) -> dict[str, Any]:
        return {"builds": SimpleNamespace(limit=2, used=2)}

    async def preview(self, user: Any, link: Link) -> Any:
        if "missing" in link.spec.repo:
            raise RepositoryNotFound("github.com/uni-lab/missing does not exist, or is private.")
        if "slow" in link.spec.repo:
            self.asked_again.clear()
            await self.asked_again.wait()
        self.asked_again.set()
        bad = "julia" in link.spec.repo
        files = (
            RecipeFile("binder/environment.yml", "environment.yml", True),
            RecipeFile("binder/postBuild", "postBuild", True),
            RecipeFile("requirements.txt", "requirements.txt", False),
        )
        findings = [
            Finding(
                Severity.WARNING,
                "unpinned",
                "5 packages have no version: a later build may differ.",
            )
        ]
        if bad:
            findings.insert(
                0,
                Finding(Severity.PROBLEM, "julia", "This hub can't install Julia.", "Project.toml"),
            )
        return SimpleNamespace(
            link=Link(link.spec, "notebooks/intro.ipynb"),
            resolved=Resolved(
                link.spec,
                SHA,
                RefKind.BRANCH,
                f"github.com/{link.spec.repo}",
                "https://github.com/uni-lab/climate-101",
                "",
                "climate-101",
            ),
            commit=Commit(SHA, "Fix plots of the <b>second</b> notebook", NOW - timedelta(days=2)),
            recipe=Recipe("binder", "conda", files, "3.11", ("a",) * 14, ("numpy", "pandas>2")),
            assessment=Assessment(
                (
                    RecipeAction("binder/environment.yml", True, "Python 3.11, 14 packages"),
                    RecipeAction("binder/postBuild", True, "Runs at the end of the build"),
                )
            ),
            findings=tuple(findings),
            choice=Choice(VenvBackend(), Assessment()),
            ways=(),
            built="built" in link.spec.repo,
            expected_seconds=124.0,
            earlier_builds=3,
            suggested_name="climate-101",
            directory="climate-101",
            content_url="",
            content_ref="",
            kept=next((e for e in self.all.values() if e.spec == link.spec), None),
        )

    # Builds
    async def fetch_build(self, build_id: str) -> Build:
        return (await self.requests.of_build(None, build_id))[0]

    max_running = 2

    def queue(self) -> QueueState:
        builds = [e.latest.build for e in self.all.values() if e.latest]
        if not builds:
            return QueueState((), ())
        long = replace(
            builds[-2],
            id="b000000099",
            state=BuildState.PENDING,
            created_by=HOSTILE,
            finished=None,
            started=None,
        )
        return QueueState(
            tuple(b for b in builds if b.state is BuildState.RUNNING),
            (*(b for b in builds if b.state is BuildState.PENDING), long),
        )

    def matched_by(self, rule: Any) -> tuple[Build, ...]:
        return self.queue().waiting[:2] if "climate" in rule.pattern else ()

    async def cancel(self, build_id: str, **_: Any) -> Build:
        return await self.fetch_build(build_id)

    async def progress(self, build: Build) -> BuildProgress:
        if build.state is BuildState.PENDING:
            return BuildProgress(3, 130.0, None, 2)
        return BuildProgress(None, 130.0, 84.0, 2, "installing packages")

    async def fetch_log(self, build_id: str, **_: Any) -> tuple[BuildEvent, ...]:
        return log_lines(await self.fetch_build(build_id))

    # Launches
    def _launch(self, launch_id: str) -> Launch:
        state = list(LaunchState)[int(launch_id[1:]) % 5]
        return Launch(
            launch_id,
            "e000000007" if int(launch_id[1:]) > 4 else "e000000002",
            LONG_PERSON if int(launch_id[1:]) > 4 else "alice",
            "",
            "",
            state,
            NOW,
            "b000000002",
            40 if state is LaunchState.STARTING else 0,
            "Server requested" if state is LaunchState.STARTING else "",
            "/user/alice/lab" if state is LaunchState.READY else None,
            NOW - timedelta(minutes=5) if state.finished else None,
            Reason("hub_error", "The server did not answer within 60 seconds.")
            if state is LaunchState.FAILED
            else None,
        )

    async def create(self, user: Any, token: str, environment_id: str, **_: Any) -> Launch:
        raise Conflict(
            "Your server runs something else.",
            code="server_running",
            detail={"server_name": "", "environment": "Survey methods", "url": "/user/alice/"},
        )

    async def servers(self, user: Any, token: str) -> tuple[Server, ...]:
        running = [await self.recall(user, each) for each in self.running]
        default = ("", "/user/alice/", None)
        named = {"e000000009": ("gpu", "/user/alice/gpu/", "old")}
        return tuple(
            Server(
                name,
                name,
                True,
                url,
                NOW,
                e.id,
                e.name,
                image,
                build_number=1 if image == "old" else None,
                outdated=image == "old",
            )
            for e in running
            for name, url, image in [named.get(e.id, default)]
        )

    async def cancel_matched(self, *_: Any, **__: Any) -> tuple[Build, ...]:
        return ()

    async def list_running(self, person: str) -> tuple[str, ...]:
        return ()

    async def stop_person(self, admin: Any, person: str) -> StoppedServers:
        return StoppedServers()

    async def stop_servers(self, user: Any, token: str, environment_id: str) -> tuple[Server, ...]:
        ended = await self.servers(user, token)
        self.running = []
        return ended


class CannedReceipts:
    """The receipts of two builds: one that this hub can make again, and one that it can't."""

    async def fetch(self, user: Any, build_id: str) -> SignedReceipt:
        receipt = {
            "version": 1,
            "backend": "venv" if build_id == "b000000001" else "repo2docker",
            "hub": "https://hub.example.org",
            "built": "2026-03-01T09:30:00.000Z",
            "repository": {"repo": "uni-lab/climate-101" if build_id[-1] == "1" else HOSTILE * 3},
        }
        return SignedReceipt(receipt, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "c2ln")


class HubAuth:
    """Lets everybody in as alice."""

    access_scopes = frozenset({"access"})
    login_url = "/hub/login"
    hub_prefix = "/hub/"
    hub_host = ""
    base_url = PREFIX

    async def get_user(self, handler: Any, sync: bool = True) -> dict[str, Any]:
        as_root = AS_ROOT.items() <= dict(handler.request.headers.get_all()).items()
        admin = as_root or handler.request.path.startswith(f"{PREFIX}admin")
        name = "root" if as_root else "alice"
        return {"name": name, "kind": "user", "admin": admin, "groups": [], "scopes": ["access"]}

    def check_scopes(self, scopes: Any, model: Any) -> bool:
        return True

    def get_token(self, handler: Any, in_cookie: bool = True) -> str:
        return "token"

    def _get_xsrf_token_id(self, handler: Any) -> bytes:
        return b"canned"


class Backend:
    name = "federation"
    goes_on_alone = True
    description = "Container images, made by repo2docker on several BinderHubs."

    @property
    def makers(self) -> tuple[Backend, ...]:
        return (self,)

    def pythons_of(self, recipe: Recipe, options: Mapping[str, Any]) -> Pythons:
        return Pythons("3.12", ("3.11", "3.12"))

    def statuses(self) -> tuple[HostStatus, ...]:
        asked, prefixes = NOW - timedelta(seconds=20), frozenset({"gh", "git"})
        well = HostStatus(
            "binder-a", "http://a/", 1.0, HostState.OK, "", asked, "1.0", prefixes, 1, 1041, 37, 0
        )
        down = "It does not answer: the connection was refused."
        return (
            well,
            replace(
                well, name="b" * 60, state=HostState.FULL, reason="it runs 9 pods of at most 9"
            ),
            replace(well, name="binder-c", state=HostState.FAILED, reason=down, host_failures=3),
        )


async def health() -> dict[str, str | None]:
    return {"database": None, "backend": None}


class Providers:
    def __init__(self) -> None:
        self.all = [
            SimpleNamespace(
                prefix="gh",
                display_name="GitHub",
                placeholder="owner/name",
                takes_ref=True,
                has_files=True,
                format_spec=lambda spec: f"{spec.repo}/{spec.ref}",
            ),
            SimpleNamespace(
                prefix="git", display_name="Any git server", placeholder="https://host/repository"
            ),
        ]

    def __iter__(self) -> Any:
        return iter(self.all)

    def __getitem__(self, prefix: str) -> Any:
        return self.all[0]

    def understand(self, text: str) -> Link:
        return Link(Spec("gh", text.rstrip("/").split("github.com/")[-1], "spring/2026"))

    def at_ref(self, link: Link, ref: str) -> Link:
        return replace(link, spec=replace(link.spec, ref=ref))


class Events(RequestHandler):
    """A log that is sent at once, and goes on if its build does."""

    async def get(self, build_id: str) -> None:
        from jupyterhub_binder.web.streams import encode_events, encode_named

        everything = self.settings["services"].builds
        build = await everything.fetch_build(build_id)
        self.set_header("Content-Type", "text/event-stream")
        self.write(encode_events(log_lines(build)))
        if build.state.finished:
            reason = {"seq": build.reason.seq} if build.reason else None
            self.write(encode_named("end", {"state": build.state, "reason": reason}))
            return
        self._gone = asyncio.Event()
        await self.flush()
        await self._gone.wait()

    def on_connection_close(self) -> None:
        self._gone.set()


class Logo(RequestHandler):
    def get(self) -> None:
        folder = hub_template_folders()[0].parent / "static" / "images"
        self.set_header("Content-Type", "image/png")
        self.finish((folder / "jupyterhub-80.png").read_bytes())


class CannedPreferences:
    """One environment is pinned, and opened RStudio last."""

    async def list(self, user: Any, ids: Any) -> dict[str, Preference]:
        known = {"e000000001": Preference(True, "/rstudio")}
        return {each: known[each] for each in ids if each in known}

    async def applications(self, environment: Environment) -> tuple[Any, ...]:
        if environment.current is None:
            return ()
        return find_applications(["jupyterlab", "notebook", "jupyter-rsession-proxy"])

    async def find_opening(self, user: Any, environment_id: str) -> None:
        return None

    async def set(self, user: Any, environment_id: str, **_: Any) -> Preference:
        return Preference()


PREFERENCES = CannedPreferences()

PROFILES = (
    Profile("small", "Small", "1 CPU, 2 GB of memory", default=True),
    Profile(
        *("large", "Large", "For lessons with a lot of data. " * 8),
        options=(
            ProfileOption("memory", "Memory", {"8": "8 GB", "16": "16 GB"}, "8"),
            ProfileOption("gpu", HOSTILE, {"0": "None", "1": "<b>One</b>"}, "0"),
        ),
    ),
    Profile("gpu", "N" * 200, HOSTILE),
)


class CannedProfiles:
    """The hub has some, and the pinned environment was launched with a large one."""

    async def offered(self, user: Any, token: str) -> tuple[Profile, ...]:
        return PROFILES

    async def remembered(self, user: Any, environment_id: str) -> ProfileChoice:
        known = {"e000000001": ProfileChoice("large", {"memory": "16"})}
        return known.get(environment_id, ProfileChoice())


LONG = "a-folder-of-a-name-that-does-not-end/" * 6


class CannedFiles:
    """Each repository has a README and some notebooks, one of a long path."""

    listing = choose(
        (
            *("README.md", "index.ipynb", f"{LONG}notebook.ipynb", "<b>x</b>.ipynb", "شرح.ipynb"),
            *(f"week {number}/exercise {number}.ipynb" for number in range(1, 13)),
        )
    )

    async def list(self, environment: Environment) -> FileListing | None:
        return self.listing if environment.current else None

    async def list_at(self, resolved: Resolved) -> FileListing:
        return self.listing


QUIET = {
    "drain": SimpleNamespace(state=None),
    "rules": SimpleNamespace(judge=lambda _, person="": None),
}
"""What administrators decide, where they have decided nothing."""


def make_app(
    environments: tuple[Environment, ...],
    *,
    admin: dict[str, Any] = QUIET,
    featured: tuple[FeaturedEnvironment, ...] = (),
    **settings: Any,
) -> Application:
    everything = Everything(environments)
    pages = make_page_settings(
        example_url="https://github.com/binder-examples/requirements",
        example_name="a small example",
    )
    services = SimpleNamespace(
        hub_auth=HubAuth(),
        providers=Providers(),
        builds=everything,
        environments=everything,
        sharing=Shared(),
        transfers=Offers(environments),
        gallery=CannedGallery(featured),
        upstreams=CannedUpstreams(),
        hooks=CannedHooks(),
        prebuilds=CannedPrebuilds(),
        previews=everything,
        launches=everything,
        launch_specs=everything,
        inventories=everything,
        receipts=CannedReceipts(),
        reproductions=everything,
        preferences=PREFERENCES,
        files=CannedFiles(),
        profiles=CannedProfiles(),
        backend=Backend(),
        **admin,
        health=health,
        base_url=PREFIX,
        hub_url="/hub/",
        hub_host="",
        public_origin="",
        named_servers=True,
        traffic=Traffic(),
    )
    static = hub_template_folders()[0].parent / "static"
    return Application(
        [
            (rf"{PREFIX}api/v1/builds/([^/]+)/events", Events),
            (rf"{PREFIX}api/v1/environments/([^/]+)/picture", PictureOf),
            *admin_handlers(PREFIX),
            *page_handlers(PREFIX, pages),
            (r"/hub/static/(.*)", StaticFileHandler, {"path": str(static)}),
            (r"/hub/logo", Logo),
        ],
        services=services,
        pages=pages,
        metrics=SimpleNamespace(answers=SimpleNamespace(count_error=lambda _: None)),
        cookie_secret="canned",
        **settings,
    )


def serve(
    environments: tuple[Environment, ...], port: int = 0, **parts: Any
) -> tuple[HTTPServer, int]:
    server = HTTPServer(make_app(environments, **parts))
    sockets = bind_sockets(port, "127.0.0.1")
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


async def main() -> None:
    serve(all_states(), int(sys.argv[1]) if len(sys.argv) > 1 else 8899)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
