"""A service without its web: a store, the fake backend, builds and environments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from traitlets.config import LoggingConfigurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.admin.drain import Draining
from jupyterhub_binder.admin.limits import Limits
from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.backends.fake import FakeBackend
from jupyterhub_binder.builds.history import BuildHistory
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.copies import Copies
from jupyterhub_binder.environments.gallery import Gallery
from jupyterhub_binder.environments.launch_specs import LaunchSpecs
from jupyterhub_binder.environments.previews import Previews
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.environments.sharing import Sharing
from jupyterhub_binder.environments.transfers import Transfers
from jupyterhub_binder.errors import UpstreamUnavailable
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.model import (
    Build,
    BuildEvent,
    Environment,
    Link,
    RefKind,
    Resolved,
    Spec,
    User,
)
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.time import utc_now
from tests.kit.databases import Databases

ALICE, BOB, ADMIN = User("alice"), User("bob"), User("root", admin=True)


class KnownProviders(Providers):
    """Providers whose every ref resolves to its own text, without asking anybody."""

    async def resolve(self, spec: Spec, *, fresh: bool = False) -> Resolved:
        """Answer at once."""
        url = f"https://github.com/{spec.repo}"
        return Resolved(
            spec=spec,
            resolved_ref=spec.ref.ljust(40, "0"),
            ref_kind=RefKind.BRANCH,
            label=f"github.com/{spec.repo}",
            repo_url=url,
            clone_url=url,
            default_name=spec.repo.rpartition("/")[2],
        )

    async def resolve_link(self, link: Link, *, fresh: bool = False) -> tuple[Link, Resolved]:
        """Answer at once."""
        return link, await self.resolve(link.spec)


class KnownPeople(HubClient):
    """A hub that knows some names."""

    known: ClassVar[frozenset[str]] = frozenset({"alice", "bob", "carol", "root"})

    def __init__(self, *, shows_all: bool = True) -> None:
        LoggingConfigurable.__init__(self)
        self.names = set(self.known)
        self._shows_all = shows_all

    async def may_read_users(self) -> bool:
        """Answer at once."""
        return self._shows_all

    async def knows_user(self, name: str) -> bool:
        """Answer at once."""
        return name in self.names


class NoFetcher(Fetcher):
    """Reaches no host."""

    def peek(self, resolved: Resolved, *_: Any) -> Any:
        """Refuse at once."""
        raise UpstreamUnavailable(f"{resolved.label} is not asked in these tests.")


@dataclass(frozen=True)
class AdminParts:
    """What administrators decide and look back at."""

    rules: Rules
    limits: Limits
    drain: Draining
    audit: Audit

    @classmethod
    def make(cls, *, store: Store, providers: Providers) -> Self:
        """Return them over a store, not started."""
        audit = Audit(store=store)
        return cls(
            rules=Rules(store=store, audit=audit, providers=providers),
            limits=Limits(store=store, audit=audit),
            drain=Draining(store=store, audit=audit),
            audit=audit,
        )

    async def start(self) -> None:
        """Read what was decided."""
        await self.rules.start()
        await self.limits.start()
        await self.drain.start()

    async def stop(self) -> None:
        """Keep the audit log."""
        await self.audit.stop()


@dataclass
class Service:
    """The parts under test, over one database file."""

    store: Store
    backend: FakeBackend
    builds: Builds
    previews: Previews
    environments: Environments
    launch_specs: LaunchSpecs
    admin: AdminParts
    providers: KnownProviders
    sharing: Sharing
    copies: Copies
    transfers: Transfers
    gallery: Gallery

    async def create(
        self, user: User = ALICE, repo: str = "org/repo", ref: str = "main", **kwargs: Any
    ) -> Environment:
        """Keep an environment; `fake` is the script of its build."""
        fake = kwargs.pop("fake", None)
        options = {"fake": fake} if fake else {}
        link = Link(Spec("gh", repo, ref))
        return await self.environments.create(user, link=link, options=options, **kwargs)

    async def finished(self, build_id: str) -> Build:
        """Wait until a build has ended."""
        last: Build | None = None
        async for item in self.builds.watch(build_id):
            last = item if isinstance(item, Build) else last
        assert last is not None
        return last

    async def lines(self, build_id: str, after: int = 0) -> list[BuildEvent]:
        """Return all lines that a watcher gets."""
        return [
            event
            async for item in self.builds.watch(build_id, after=after)
            if not isinstance(item, Build)
            for event in item.events
        ]

    async def stop(self) -> None:
        """Stop as a service stops."""
        await self.environments.stop()
        await self.builds.stop()
        await self.admin.stop()
        await self.store.close()


async def open_service(
    folder: Path,
    *,
    database: str = "",
    fetcher: Fetcher | None = None,
    backend: Any = None,
    **traits: Any,
) -> Service:
    """Start the parts over a folder and its database."""
    store = await Store.open(database or Databases.url_for(folder))
    backend = backend or FakeBackend(images_dir=str(folder / "images"))
    providers = KnownProviders(git=Git())
    history = BuildHistory(store=store, backend=backend)
    admin = AdminParts.make(store=store, providers=providers)
    builds = Builds(
        store=store,
        backend=backend,
        history=history,
        **vars(admin),
        fetcher=fetcher or NoFetcher(git=Git()),
        work_dir=str(folder / "work"),
        **traits,
    )
    previews = Previews(
        store=store,
        providers=providers,
        fetcher=fetcher or NoFetcher(git=Git()),
        backend=backend,
        builds=builds,
        history=history,
        rules=admin.rules,
    )
    environments = Environments(
        store=store,
        previews=previews,
        providers=providers,
        backend=backend,
        builds=builds,
        rules=admin.rules,
        limits=admin.limits,
        audit=admin.audit,
    )
    launch_specs = LaunchSpecs(
        environments=environments, rules=admin.rules, providers=providers, backend=backend
    )
    sharing = Sharing(store=store, environments=environments, hub=KnownPeople(), audit=admin.audit)
    transfers = Transfers(
        store=store, environments=environments, sharing=sharing, builds=builds, audit=admin.audit
    )
    await builds.start()
    return Service(
        store,
        backend,
        builds,
        previews,
        environments,
        launch_specs,
        admin,
        providers,
        sharing,
        Copies(environments=environments, rules=admin.rules),
        transfers,
        Gallery(store=store, environments=environments, audit=admin.audit),
    )


MakeService = Callable[..., Awaitable[Service]]


@pytest.fixture
async def make_service(tmp_path: Path) -> AsyncIterator[MakeService]:
    """Return a function that starts a service over this test's folder; all are stopped after."""
    started: list[Service] = []

    async def make(**traits: Any) -> Service:
        service = await open_service(tmp_path, **traits)
        started.append(service)
        return service

    yield make
    for service in started:
        await service.stop()


@pytest.fixture
async def service(make_service: MakeService) -> Service:
    """A running service."""
    return await make_service()


def build_named(name: str, by: str = "alice", **changes: Any) -> Build:
    """Return a build for pure functions: its id, key and creation follow from its name."""
    from jupyterhub_binder.model import BuildState, Phase

    build = Build(
        id=name,
        base_key=name,
        generation=0,
        spec=Spec("gh", "org/repo"),
        resolved_ref="0" * 40,
        label="github.com/org/repo",
        repo_url="https://github.com/org/repo",
        clone_url="https://github.com/org/repo",
        options={},
        backend="fake",
        state=BuildState.PENDING,
        phase=Phase.WAITING,
        created=utc_now(),
        created_by=by,
    )
    return replace(build, **changes)
