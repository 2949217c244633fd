"""The parts of the service, put together and started.

Each part is started after what it needs, and stopped before it. What the parts do is theirs, what
they are told is `app`'s, and who listens is `web.listen`'s.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from jupyterhub.services.auth import HubOAuth

from jupyterhub_binder.audit import Audit
from jupyterhub_binder.backends.installed import backend_class
from jupyterhub_binder.builds import Builds
from jupyterhub_binder.cleanup import Cleanup, fetch_images_in_use
from jupyterhub_binder.command import Command
from jupyterhub_binder.download import Downloads
from jupyterhub_binder.environments import Environments
from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.fetch import Fetcher
from jupyterhub_binder.git import Git
from jupyterhub_binder.health import Health
from jupyterhub_binder.hub import HubClient
from jupyterhub_binder.launches import Launches
from jupyterhub_binder.previews import Previews
from jupyterhub_binder.providers import Providers
from jupyterhub_binder.redact import redactor
from jupyterhub_binder.registry import Registry
from jupyterhub_binder.retention import Retention
from jupyterhub_binder.rules import Rules
from jupyterhub_binder.starts import Starts
from jupyterhub_binder.store import Store
from jupyterhub_binder.web.context import Services, Traffic
from jupyterhub_binder.web.events import Streams

if TYPE_CHECKING:
    from jupyterhub_binder.app import JupyterHubBinder

CONFIGURABLES: tuple[type[Any], ...] = (
    Builds,
    Cleanup,
    Previews,
    Environments,
    Launches,
    Providers,
    Git,
    Downloads,
    Fetcher,
    Registry,
    Rules,
    Retention,
    Audit,
    HubClient,
    HubOAuth,
)
"""What has options of its own, but for backends and providers, which a package can bring."""

_ACCESS_SCOPE = "access:services!service=binder"


class _Part(Protocol):
    """What begins with the service, and ends with it."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


P = TypeVar("P", bound=_Part)


async def start_parts(app: JupyterHubBinder, stack: AsyncExitStack) -> Services:
    """Start every part; closing the stack stops them in the reverse order.

    Raises ConfigurationError; then the stack stops those that have begun.
    """

    async def started(part: P) -> P:
        stack.push_async_callback(part.stop)
        await part.start()
        return part

    hub_auth = _make_hub_auth(app)
    _private_folder(app.state_dir)
    store = await Store.open(app.database_url)
    stack.push_async_callback(store.close)
    backend = backend_class(app.backend)(parent=app)
    git = Git(parent=app)
    providers = await started(
        Providers(parent=app, git=git, buildable=lambda: backend.provider_prefixes)
    )
    fetcher = Fetcher(parent=app, git=git, archives=providers)
    await started(backend)
    command = await started(Command(parent=app, store=store, providers=providers))
    builds = Builds(parent=app, store=store, backend=backend, fetcher=fetcher, command=command)
    builds.work_dir = builds.work_dir or str(Path(app.state_dir) / "work")
    hub = await started(HubClient(parent=app))
    await started(builds)
    previews = Previews(
        parent=app,
        store=store,
        providers=providers,
        fetcher=fetcher,
        backend=backend,
        builds=builds,
    )
    environments = await started(
        Environments(parent=app, store=store, previews=previews, backend=backend, builds=builds)
    )
    starts = Starts(parent=app, environments=environments, providers=providers, backend=backend)
    launches = await started(
        Launches(
            parent=app,
            store=store,
            builds=builds,
            environments=environments,
            starts=starts,
            hub=hub,
        )
    )
    await started(
        Cleanup(
            parent=app,
            store=store,
            backend=backend,
            in_use=partial(fetch_images_in_use, hub, store),
            retention=Retention(parent=app, store=store, audit=command.audit),
            audit=command.audit,
        )
    )
    health = Health(
        store=store,
        backend=backend,
        hub=hub,
        state_dir=app.state_dir,
        least_free_bytes=app.least_free_bytes,
    )
    return Services(
        hub_auth=hub_auth,
        hub=hub,
        providers=providers,
        backend=backend,
        builds=builds,
        previews=previews,
        environments=environments,
        starts=starts,
        launches=launches,
        command=command,
        store=store,
        streams=Streams(),
        traffic=Traffic(),
        health=health.check,
        base_url=app.base_url,
        hub_url=hub_auth.hub_host + hub_auth.hub_prefix,
        named_servers=app.named_servers,
    )


def _make_hub_auth(app: JupyterHubBinder) -> HubOAuth:
    hub_auth = HubOAuth(parent=app, base_url=app.base_url)
    if not hub_auth.api_token:
        raise ConfigurationError(
            "HubOAuth.api_token is missing. A hub that starts the service gives it in "
            "JUPYTERHUB_API_TOKEN; otherwise set it to the service's api_token."
        )
    redactor.add([hub_auth.api_token])
    if not hub_auth.access_scopes:
        hub_auth.access_scopes = {_ACCESS_SCOPE}
    return hub_auth


def _private_folder(path: str) -> None:
    try:
        Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"JupyterHubBinder.state_dir: {path} cannot be made: {error.strerror}"
        ) from error
