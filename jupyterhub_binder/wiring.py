"""Creates and starts the service's parts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuth
from traitlets.config import Configurable

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.admin.drain import Draining
from jupyterhub_binder.admin.limits import Limits
from jupyterhub_binder.admin.rules import Rules
from jupyterhub_binder.admin.usage import PeopleUsage
from jupyterhub_binder.admin.usage_reports import UsageReports
from jupyterhub_binder.backends.installed import backend_class
from jupyterhub_binder.backends.repo2docker.registry import Registry
from jupyterhub_binder.backends.venv.conda.options import CondaChannels
from jupyterhub_binder.backends.venv.pods.runner import BuildPods
from jupyterhub_binder.builds.history import BuildHistory
from jupyterhub_binder.builds.service import Builds
from jupyterhub_binder.environments.auto_updates import AutoUpdates
from jupyterhub_binder.environments.commit_statuses import CommitStatuses
from jupyterhub_binder.environments.copies import Copies
from jupyterhub_binder.environments.departures import Departures
from jupyterhub_binder.environments.detections import Detections
from jupyterhub_binder.environments.featured import Featured
from jupyterhub_binder.environments.files import RepositoryFiles
from jupyterhub_binder.environments.gallery import Gallery
from jupyterhub_binder.environments.hooks import Hooks
from jupyterhub_binder.environments.inventories import Inventories
from jupyterhub_binder.environments.launch_specs import LaunchSpecs
from jupyterhub_binder.environments.prebuilds import Prebuilds
from jupyterhub_binder.environments.preferences import Preferences
from jupyterhub_binder.environments.previews import Previews
from jupyterhub_binder.environments.profiles import Profiles
from jupyterhub_binder.environments.receipts import Receipts
from jupyterhub_binder.environments.reproductions import Reproductions
from jupyterhub_binder.environments.service import Environments
from jupyterhub_binder.environments.sharing import Sharing
from jupyterhub_binder.environments.transfers import Transfers
from jupyterhub_binder.environments.upstream import Upstreams
from jupyterhub_binder.environments.upstream_changes import UpstreamChanges
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.launches.reports import LaunchReports
from jupyterhub_binder.launches.service import Launches
from jupyterhub_binder.maintenance.alerts.service import Alerts
from jupyterhub_binder.maintenance.archive.service import Archive
from jupyterhub_binder.maintenance.health import Health
from jupyterhub_binder.maintenance.images import Cleanup, fetch_images_in_use
from jupyterhub_binder.maintenance.retention import Retention
from jupyterhub_binder.maintenance.software import Software
from jupyterhub_binder.model import Spec
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.mirror import Mirrors
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.records.download import Downloads
from jupyterhub_binder.store import Store
from jupyterhub_binder.utils.http import open_session
from jupyterhub_binder.utils.redact import redactor
from jupyterhub_binder.utils.sealing import Sealer
from jupyterhub_binder.utils.signing import SigningKey
from jupyterhub_binder.web.services import Services, Streams, Traffic

CONFIGURABLES: tuple[type[Any], ...] = (
    Builds,
    Cleanup,
    Alerts,
    Previews,
    Environments,
    Transfers,
    Upstreams,
    AutoUpdates,
    Hooks,
    Detections,
    Prebuilds,
    Featured,
    Departures,
    Launches,
    LaunchReports,
    Archive,
    Providers,
    Git,
    Downloads,
    Fetcher,
    Mirrors,
    Registry,
    BuildPods,
    CondaChannels,
    Rules,
    Limits,
    Retention,
    Audit,
    UsageReports,
    HubClient,
    HubOAuth,
)
"""Classes with options, besides backends and providers."""

_RECEIPT_KEY = "receipt.key"
_SECRETS_KEY = "secrets.key"
_ACCESS_SCOPE = "access:services!service=binder"


class _Part(Protocol):
    """A part that starts and stops."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


P = TypeVar("P", bound=_Part)


@dataclass(frozen=True, slots=True)
class Options:
    """Application options for several parts."""

    backend: str
    base_url: str
    database_url: str
    min_free_bytes: int
    named_servers: bool
    state_dir: str


async def start_parts(parent: Configurable, options: Options, stack: AsyncExitStack) -> Services:
    """Start all parts; closing the stack stops them in reverse order.

    Options come from `parent`'s configuration. Raises ConfigurationError; closing the stack then
    stops what was started.
    """

    async def started(part: P) -> P:
        stack.push_async_callback(part.stop)
        await part.start()
        return part

    hub_auth = _make_hub_auth(parent, options.base_url)
    _private_folder(options.state_dir)
    store = await Store.open(options.database_url)
    stack.push_async_callback(store.close)
    session = await stack.enter_async_context(open_session())
    backend = backend_class(options.backend)(parent=parent)
    backend.session = session
    git = Git(parent=parent)
    providers = await started(
        Providers(
            parent=parent,
            git=git,
            buildable=lambda: backend.provider_prefixes,
            containers=any(maker.makes_containers for maker in backend.makers),
        )
    )
    store.may_name = providers.is_public
    mirrors = Mirrors(parent=parent, git=git)
    mirrors.root = mirrors.root or str(Path(options.state_dir) / "mirrors")
    await started(mirrors)
    fetcher = Fetcher(parent=parent, git=git, archives=providers, mirrors=mirrors)
    await started(backend)
    audit = Audit(parent=parent, store=store)
    stack.push_async_callback(audit.stop)
    rules = Rules(parent=parent, store=store, audit=audit, providers=providers)
    fetcher.may_fetch = lambda url: rules.judge(Spec("git", url)) is None
    limits = Limits(parent=parent, store=store, audit=audit)
    drain = Draining(parent=parent, store=store, audit=audit)
    for part in (rules, limits, drain):
        await part.start()
    history = BuildHistory(store=store, backend=backend)
    builds = Builds(
        parent=parent,
        store=store,
        backend=backend,
        fetcher=fetcher,
        history=history,
        rules=rules,
        limits=limits,
        drain=drain,
        audit=audit,
    )
    builds.work_dir = builds.work_dir or str(Path(options.state_dir) / "work")
    hub = HubClient(parent=parent, session=session)
    hub.api_token = hub.api_token or hub_auth.api_token
    await started(builds)
    previews = Previews(
        parent=parent,
        store=store,
        providers=providers,
        fetcher=fetcher,
        backend=backend,
        builds=builds,
        history=history,
        rules=rules,
    )
    environments = await started(
        Environments(
            parent=parent,
            store=store,
            previews=previews,
            providers=providers,
            backend=backend,
            builds=builds,
            rules=rules,
            limits=limits,
            audit=audit,
        )
    )
    sharing = Sharing(parent=parent, store=store, environments=environments, hub=hub, audit=audit)
    await started(Departures(parent=parent, store=store, hub=hub, audit=audit))
    transfers = Transfers(
        parent=parent,
        store=store,
        environments=environments,
        sharing=sharing,
        builds=builds,
        audit=audit,
    )
    upstreams = await started(
        Upstreams(
            parent=parent,
            store=store,
            providers=providers,
            changes=UpstreamChanges(
                parent=parent, store=store, backend=backend, builds=builds, fetcher=fetcher
            ),
            history=history,
            rules=rules,
        )
    )
    updates = await started(
        AutoUpdates(
            parent=parent,
            store=store,
            environments=environments,
            upstreams=upstreams,
            builds=builds,
            limits=limits,
            drain=drain,
            audit=audit,
            hub=hub,
        )
    )
    sealer = await asyncio.to_thread(Sealer.ensure, Path(options.state_dir) / _SECRETS_KEY)
    hooks = Hooks(parent=parent, store=store, environments=environments, audit=audit, sealer=sealer)
    detections = await started(
        Detections(
            parent=parent,
            store=store,
            rules=rules,
            builds=builds,
            providers=providers,
            hub=hub,
            audit=audit,
        )
    )
    launch_specs = LaunchSpecs(
        parent=parent,
        environments=environments,
        rules=rules,
        providers=providers,
        backend=backend,
    )
    statuses = await started(
        CommitStatuses(parent=parent, store=store, hooks=hooks, builds=builds, providers=providers)
    )
    prebuilds = await started(
        Prebuilds(
            parent=parent,
            store=store,
            environments=environments,
            updates=updates,
            upstreams=upstreams,
            launch_specs=launch_specs,
            builds=builds,
            hooks=hooks,
            statuses=statuses,
            rules=rules,
            drain=drain,
            audit=audit,
        )
    )
    gallery = Gallery(parent=parent, store=store, environments=environments, audit=audit)
    await started(
        Featured(
            parent=parent,
            store=store,
            gallery=gallery,
            environments_service=environments,
            launch_specs=launch_specs,
            providers=providers,
            fetcher=fetcher,
            builds=builds,
            rules=rules,
        )
    )
    archive = await started(Archive(parent=parent, store=store, providers=providers, audit=audit))
    reports = await started(
        LaunchReports(
            parent=parent,
            providers=providers,
            is_public=archive.fetch_is_public,
            keeps=archive.enabled,
            default_origin=_public_host(hub_auth),
        )
    )
    profiles = Profiles(store=store, environments=environments, hub=hub)
    launches = await started(
        Launches(
            parent=parent,
            store=store,
            builds=builds,
            environments=environments,
            launch_specs=launch_specs,
            rules=rules,
            hub=hub,
            profiles=profiles,
            reports=reports,
            audit=audit,
        )
    )
    cleanup = await started(
        Cleanup(
            parent=parent,
            store=store,
            backend=backend,
            in_use=partial(fetch_images_in_use, hub, store),
            retention=Retention(
                parent=parent,
                store=store,
                audit=audit,
                archived_until=lambda: archive.written_until,
            ),
            audit=audit,
        )
    )
    key = await asyncio.to_thread(SigningKey.ensure, Path(options.state_dir) / _RECEIPT_KEY)
    health = await started(
        Health(
            store=store,
            backend=backend,
            hub=hub,
            state_dir=options.state_dir,
            min_free_bytes=options.min_free_bytes,
        )
    )
    alerts = await started(
        Alerts(
            parent=parent,
            store=store,
            session=session,
            builds=builds,
            drain=drain,
            disk=health.disk,
            health=health.check,
            fetch_reports=detections.summarize,
        )
    )
    inventories = Inventories(store=store, environments=environments, backend=backend)
    receipts = Receipts(
        inventories=inventories,
        key=key,
        hub_url=_public_url(hub_auth),
    )
    return Services(
        hub_auth=hub_auth,
        hub=hub,
        providers=providers,
        backend=backend,
        builds=builds,
        previews=previews,
        environments=environments,
        sharing=sharing,
        gallery=gallery,
        copies=Copies(environments=environments, rules=rules),
        transfers=transfers,
        upstreams=upstreams,
        hooks=hooks,
        detections=detections,
        prebuilds=prebuilds,
        launch_specs=launch_specs,
        inventories=inventories,
        files=RepositoryFiles(fetcher=fetcher),
        profiles=profiles,
        preferences=Preferences(store=store, environments=environments),
        receipts=receipts,
        reproductions=Reproductions(
            store=store,
            providers=providers,
            environments=environments,
            receipts=receipts,
            backend=backend,
        ),
        launches=launches,
        rules=rules,
        limits=limits,
        drain=drain,
        audit=audit,
        usage=PeopleUsage(store),
        usage_reports=UsageReports(parent=parent, store=store),
        store=store,
        streams=Streams(),
        traffic=Traffic(),
        cleanup=cleanup,
        archive=archive,
        alerts=alerts,
        software=Software(hub=hub, backend=backend),
        disk=health.disk,
        health=health.check,
        base_url=options.base_url,
        hub_url=hub_auth.hub_host + hub_auth.hub_prefix,
        hub_host=hub_auth.hub_host,
        public_origin=public_origin(os.environ, hub_host=hub_auth.hub_host),
        named_servers=options.named_servers,
    )


def _make_hub_auth(parent: Configurable, base_url: str) -> HubOAuth:
    hub_auth = HubOAuth(parent=parent, base_url=base_url)
    if not hub_auth.api_token:
        raise ConfigurationError(
            "HubOAuth.api_token is missing. If the hub starts the service, it sets "
            "JUPYTERHUB_API_TOKEN; otherwise set HubOAuth.api_token to the service's token."
        )
    redactor.add([hub_auth.api_token])
    if not hub_auth.access_scopes:
        hub_auth.access_scopes = {_ACCESS_SCOPE}
    return hub_auth


def _public_url(hub_auth: HubOAuth) -> str:
    return os.environ.get("JUPYTERHUB_PUBLIC_HUB_URL", "") or hub_auth.hub_host


def _public_host(hub_auth: HubOAuth) -> str:
    """Return the hub's public host with its port; empty if unknown."""
    return urlsplit(_public_url(hub_auth)).netloc


def public_origin(environ: Mapping[str, str], *, hub_host: str) -> str:
    """Return the origin of this service's pages; empty if the hub has no public URL configured.

    Where services have a domain of their own, `hub_host`, the hub's, is not ours.
    """
    url = environ.get("JUPYTERHUB_PUBLIC_URL", "")
    if not url and not hub_host:
        url = environ.get("JUPYTERHUB_PUBLIC_HUB_URL", "")
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def _private_folder(path: str) -> None:
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"JupyterHubBinder.state_dir: can't create {path}: {error.strerror}"
        ) from error
