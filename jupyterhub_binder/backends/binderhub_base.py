"""What one BinderHub and several have in common: a build is given to a host, and another if need be.

Owns the session, the hosts' checks, what is remembered, and when to give up. How one build is
followed at one host is in `binderhub_follow`; which hosts there are, the subclasses say.
"""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from platformdirs import user_state_path
from traitlets import Bool, Float, List, Unicode, default

from jupyterhub_binder import __version__
from jupyterhub_binder.aio import TaskSet
from jupyterhub_binder.backends import r2d_plan
from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.backends.binderhub_client import (
    BinderHubClient,
    Refused,
    Remote,
    parse_secret,
    parse_url,
)
from jupyterhub_binder.backends.binderhub_events import Ready
from jupyterhub_binder.backends.binderhub_follow import HostDown, follow
from jupyterhub_binder.backends.binderhub_host import Host, HostStatus
from jupyterhub_binder.backends.binderhub_images import ImageMemory
from jupyterhub_binder.backends.binderhub_spec import wire_spec
from jupyterhub_binder.backends.federation_choice import rank
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import (
    Assessment,
    BackendOutput,
    BuildJob,
    Checkpoint,
    Image,
    Line,
    Phase,
    Recipe,
)
from jupyterhub_binder.slugs import repository_key


class RemoteBackend(BuildBackend):
    """Lets BinderHub build: everything but which BinderHubs there are."""

    needs_checkout: ClassVar[bool] = False
    cancel_note: ClassVar[str] = (
        "BinderHub was left; on Kubernetes it makes an image to its end once it has begun."
    )

    token = Unicode(
        help="""The token by which BinderHub knows this service: one of the hub's with the scope
        `access:services!service=<BinderHub's name>`. Default: the environment variable
        BINDERHUB_API_TOKEN, else empty, none is sent.""",
    ).tag(config=True)

    use_service_token = Bool(
        False,
        help="""Send the service's own token of the hub (JUPYTERHUB_API_TOKEN) where no other is
        set. Default: False. Switch it on where BinderHub is a service of the same hub, and give
        this service's role the scope `access:services!service=<BinderHub's name>`; never for a
        BinderHub of somebody else, who would hold your hub's token.""",
    ).tag(config=True)

    build_token_secret = Unicode(
        help="""The secret of BinderHub's build tokens, in hexadecimal, as its own
        `BinderHub.build_token_secret`: who has it is asked for no more tokens and has no limit
        of builds. Default: the environment variable BINDERHUB_BUILD_TOKEN_SECRET, else empty,
        no build token is sent. Needs the extra `jupyterhub-binder[binderhub]`.""",
    ).tag(config=True)

    connect_timeout_seconds = Float(
        10, min=0.1, help="Seconds in which a connection must be made. Default: 10."
    ).tag(config=True)

    read_timeout_seconds = Float(
        90,
        min=1,
        help="""Seconds for which a stream may be silent before it is taken to be broken. Default:
        90; BinderHub says every 25 seconds that it is alive. A build's own time is limited by
        `Builds`.""",
    ).tag(config=True)

    reconnect_seconds = Float(
        1,
        min=0.01,
        help="""Seconds before a broken connection is first tried again; each further attempt waits
        twice as long, at most 30 seconds. Default: 1.""",
    ).tag(config=True)

    failover_seconds = Float(
        30,
        min=0,
        help="""Seconds for which a broken connection is tried again before another BinderHub is
        asked, or the same anew. Default: 30.""",
    ).tag(config=True)

    give_up_seconds = Float(
        900,
        min=0,
        help="""Seconds for which a build waits while no BinderHub answers; then it fails, and says
        that its repository is not to blame. Default: 900.""",
    ).tag(config=True)

    retry_failed_seconds = Float(
        90, min=0, help="Seconds after which a BinderHub that failed is tried again. Default: 90."
    ).tag(config=True)

    check_interval_seconds = Float(
        30,
        min=1,
        help="Seconds between two looks at each BinderHub's health and providers. Default: 30.",
    ).tag(config=True)

    ignored_checks = List(
        Unicode(),
        ["JupyterHub API"],
        help="""Checks of BinderHub's `/health` that say nothing about building. Default: that of
        its hub, which a BinderHub in API-only mode may not have.""",
    ).tag(config=True)

    images_dir = Unicode(
        help="""The folder that remembers which images BinderHub has made. Nothing is lost with
        it: BinderHub is then asked again. Default: `binderhub-images` in the service's
        `state_dir`.""",
    ).tag(config=True)

    revision = Unicode(
        "1",
        help="""Change it to have every environment built anew when people next ask for it: after
        BinderHub's registry or image prefix has changed, say. Default: `1`.""",
    ).tag(config=True)

    @default("token")
    def _default_token(self) -> str:
        return os.environ.get("BINDERHUB_API_TOKEN", "")

    @default("build_token_secret")
    def _default_build_token_secret(self) -> str:
        return os.environ.get("BINDERHUB_BUILD_TOKEN_SECRET", "")

    @default("images_dir")
    def _default_images_dir(self) -> str:
        state_dir = getattr(self.parent, "state_dir", "") or user_state_path("jupyterhub-binder")
        return str(Path(state_dir) / "binderhub-images")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hosts: tuple[Host, ...] = ()
        self._session: aiohttp.ClientSession | None = None
        self._tasks = TaskSet(self.log)

    @abstractmethod
    def _remotes(self) -> Iterable[tuple[Remote, float]]:
        """Return the BinderHubs and their weights. Raises ConfigurationError."""

    def _remote(
        self, name: str, url: str, *, trait: str, token: str = "", secret: str = ""
    ) -> Remote:
        """Return one of them, with what is configured for all."""
        return Remote(
            name=name,
            url=parse_url(url, trait=trait),
            token=token or self.token or self._service_token(),
            build_token_secret=parse_secret(
                secret or self.build_token_secret, trait=f"{type(self).__name__}.build_token_secret"
            ),
            connect_seconds=self.connect_timeout_seconds,
            read_seconds=self.read_timeout_seconds,
        )

    def _service_token(self) -> str:
        return os.environ.get("JUPYTERHUB_API_TOKEN", "") if self.use_service_token else ""

    # --- Life ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the session and look at every BinderHub; one that is down is no error."""
        remotes = tuple(self._remotes())
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0),
            headers={"User-Agent": f"jupyterhub-binder/{__version__}"},
        )
        self.hosts = tuple(
            Host(
                BinderHubClient(remote, self._session),
                weight=weight,
                ignored_checks=self.ignored_checks,
                retry_seconds=self.retry_failed_seconds,
            )
            for remote, weight in remotes
        )
        await self.check_hosts()
        self._tasks.spawn(self._keep_checking(), name="checks of BinderHub")

    async def stop(self) -> None:
        """Close every connection; may be called twice, and without a start."""
        await self._tasks.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(self.check_interval_seconds)
            try:
                await self.check_hosts()
            except Exception:
                self.log.exception("BinderHub could not be checked")

    async def check_hosts(self) -> None:
        """Ask every BinderHub how it is and what it offers."""
        before = [status.state for status in self.statuses()]
        await asyncio.gather(*(host.check() for host in self.hosts))
        for state, status in zip(before, self.statuses(), strict=True):
            if status.state is not state:
                self.log.info("%s is %s %s", status.name, status.state, status.reason)

    def statuses(self) -> tuple[HostStatus, ...]:
        """Return how every BinderHub stands, for the admin page and metrics."""
        return tuple(host.status() for host in self.hosts)

    @property
    def provider_prefixes(self) -> frozenset[str] | None:
        """Return the providers that at least one BinderHub has; None where one does not tell."""
        known = [host.prefixes for host in self.hosts]
        if not known or None in known:
            return None
        return frozenset().union(*(prefixes for prefixes in known if prefixes))

    async def health(self) -> str | None:
        """Return what is wrong when no BinderHub would build now."""
        if any(host.well for host in self.hosts):
            return None
        found = "; ".join(f"{host.name}: {host.reason}" for host in self.hosts)
        return f"No BinderHub builds at the moment. {found or 'None is configured.'}"

    # --- What is asked before a build -----------------------------------------------------------

    def fingerprint(self) -> str:
        """Return what an admin says has changed.

        BinderHub itself builds no commit twice, whatever its own version, so that it does not
        belong here; nor do addresses, since several share one registry.
        """
        return f"binderhub {self.revision}"

    def assess(self, recipe: Recipe, options: Mapping[str, Any]) -> Assessment:
        """Say what BinderHub's repo2docker does with each file, with all of its build packs."""
        return r2d_plan.assess(recipe, debian=False)

    @property
    def _images(self) -> ImageMemory:
        return ImageMemory(Path(self.images_dir))

    async def find_image(self, key: str) -> str | None:
        """Return the image that BinderHub made of a content key, as far as is remembered.

        Whether the registry still has it, BinderHub says when it is asked to build it again.
        """
        return await self._images.find(key)

    async def delete_image(self, image: str) -> None:
        """Forget an image; it is the registry's to remove."""
        await self._images.forget(image)

    # --- A build --------------------------------------------------------------------------------

    async def build(self, job: BuildJob) -> AsyncGenerator[BackendOutput, None]:
        """Have the image made; go on at another BinderHub when one cannot."""
        build = job.build
        spec = wire_spec(build.spec, build.resolved_ref)
        journey = _Journey(
            hosts=rank(self._hosts_for(build.spec.provider), repository_key(build.spec)),
            last=str(build.checkpoint.get("host", "")),
            give_up_seconds=self.give_up_seconds,
            wait_seconds=self.reconnect_seconds,
        )
        while True:
            host = await journey.next_host()
            yield Checkpoint({"host": host.name})
            if line := journey.announcement(host):
                yield Line(Phase.WAITING, line)
            try:
                async with aclosing(self._build_at(host, spec, job)) as outputs:
                    async for output in outputs:
                        yield output
                        if isinstance(output, Image):
                            return
            except (HostDown, Refused) as trouble:
                host.count_host_failure(str(trouble))
                self.log.warning("Build %s at %s: %s", build.id, host.name, trouble)
                journey.failed(host, trouble)

    def _hosts_for(self, prefix: str) -> Sequence[Host]:
        hosts = [host for host in self.hosts if host.builds(prefix)]
        if not hosts:
            raise BuildFailed(
                f"This hub's BinderHub does not build repositories of the kind {prefix!r}.",
                code="unknown_provider",
            )
        return hosts

    async def _build_at(
        self, host: Host, spec: str, job: BuildJob
    ) -> AsyncGenerator[Line | Image, None]:
        """Follow the build at one BinderHub. Raises BuildFailed, HostDown, Refused."""
        following = follow(
            host.client,
            spec,
            patience_seconds=self.failover_seconds,
            first_wait_seconds=self.reconnect_seconds,
        )
        said_anything = False
        with host.building():
            try:
                async with aclosing(following) as outputs:
                    async for output in outputs:
                        if isinstance(output, Line):
                            said_anything = True
                            yield output
                            continue
                        for line in _about_image(output, job, found=not said_anything):
                            yield line
                        await self._remember(job.build.key, output.image)
                        host.count_built()
                        yield Image(output.image)
                        return
            except BuildFailed:
                host.count_build_failure()
                raise

    async def _remember(self, key: str, image: str) -> None:
        """Remember an image; one that cannot be remembered is made all the same."""
        try:
            await self._images.keep(key, image)
        except OSError as error:
            self.log.warning(
                "%s.images_dir: %s cannot be written (%s), and BinderHub will be asked for %s "
                "again. Make room there, let the service write there, or set another folder.",
                type(self).__name__,
                self.images_dir,
                error.strerror,
                image,
            )


def _about_image(ready: Ready, job: BuildJob, *, found: bool) -> Iterable[Line]:
    if found:
        yield Line(Phase.BUILDING, f"BinderHub has the image already: {ready.image}")
    if found and job.build.generation:
        yield Line(
            Phase.BUILDING,
            "BinderHub makes no image of a commit twice: an administrator can have it made anew "
            "by deleting it from the registry.",
        )


@dataclass
class _Journey:
    """Which BinderHub one build asks next, and when it has asked long enough."""

    hosts: list[Host]
    """In the repository's order of preference."""
    last: str
    """The host that an earlier run of the service had given the build to."""
    give_up_seconds: float
    wait_seconds: float
    """The first wait of a round in which nobody could; later ones are longer."""
    _failed: dict[str, HostDown | Refused] = field(default_factory=dict)
    """What was wrong with each host of this round."""
    _trouble_since: float | None = None
    _wait_seconds: float = 0.0
    _before: Host | None = None

    async def next_host(self) -> Host:
        """Return the host to ask, after a while when all were asked. Raises BuildFailed."""
        if len(self._failed) == len(self.hosts):
            self._give_up_in_time()
            await asyncio.sleep(self._wait_seconds)
            self._wait_seconds = min(self._wait_seconds * 2, 30.0)
            self._failed.clear()
        left = [host for host in self.hosts if host.name not in self._failed]
        again = [host for host in left if host.name == self.last and host.well]
        well = [host for host in left if host.well]
        room = [host for host in well if not host.full]
        return next(iter((*again, *room, *well, *left)))

    def _give_up_in_time(self) -> None:
        """Raise BuildFailed when waiting helps no more, or has lasted long enough."""
        refusals = [t for t in self._failed.values() if isinstance(t, Refused)]
        now = asyncio.get_running_loop().time()
        waited = now - (self._trouble_since if self._trouble_since is not None else now)
        if len(refusals) < len(self._failed) and waited < self.give_up_seconds:
            return
        reasons = "; ".join(dict.fromkeys(str(trouble) for trouble in self._failed.values()))
        raise BuildFailed(
            f"No BinderHub takes this build: {reasons}. The repository is not to blame; tell the "
            "hub's administrators, or build again later.",
            code="binderhub_unavailable",
        )

    def announcement(self, host: Host) -> str:
        """Return what people are told about the host that is asked now; empty for nothing."""
        before, self._before = self._before, host
        if before is not None and before is not host:
            return f"Going on with {host.name}, where the build begins anew."
        return f"Asking {host.name} for the image." if before is None else ""

    def failed(self, host: Host, trouble: HostDown | Refused) -> None:
        """Note that a host could not go on."""
        self._failed[host.name] = trouble
        if self._trouble_since is None or (isinstance(trouble, HostDown) and trouble.heard):
            self._trouble_since = asyncio.get_running_loop().time()
            self._wait_seconds = self.wait_seconds
