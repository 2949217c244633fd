"""The common base of the BinderHub backends.

Owns the session, the checks of the hosts, remembered images and failover. `follow` follows a build
on one host; subclasses say which hosts there are.
"""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from platformdirs import user_state_path
from traitlets import Bool, Float, List, Unicode, default

from jupyterhub_binder.backends.base import BuildBackend
from jupyterhub_binder.backends.binderhub.client import (
    BinderHubClient,
    BinderHubRefused,
    BinderHubRemote,
    parse_secret,
    parse_url,
)
from jupyterhub_binder.backends.binderhub.events import Ready
from jupyterhub_binder.backends.binderhub.follow import HostDown, follow
from jupyterhub_binder.backends.binderhub.host import Host, HostState, HostStatus
from jupyterhub_binder.backends.binderhub.images import ImageMemory
from jupyterhub_binder.backends.binderhub.ranking import rank
from jupyterhub_binder.backends.binderhub.spec import wire_spec
from jupyterhub_binder.backends.repo2docker import plan
from jupyterhub_binder.errors import BuildFailed
from jupyterhub_binder.model import (
    PUBLISHED_IMAGES,
    Assessment,
    BackendOutput,
    BuildJob,
    Checkpoint,
    Image,
    Line,
    Phase,
    Recipe,
    repository_key,
)
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.utils.concurrency import TaskSet
from jupyterhub_binder.utils.http import borrow_session
from jupyterhub_binder.utils.retry import Backoff

_FIRST_CHECK_SECONDS = 0.5


class RemoteBackend(BuildBackend):
    """Builds on the BinderHubs that a subclass configures."""

    needs_checkout: ClassVar[bool] = False
    goes_on_alone: ClassVar[bool] = True
    made: ClassVar[str] = Message("made as a container image by BinderHub")
    cancel_note: ClassVar[str] = Message(
        "This hub no longer waits for BinderHub. On Kubernetes, BinderHub finishes an image "
        "once it has begun."
    )
    inventory_note: ClassVar[str] = Message(
        "A BinderHub does not say which packages are in an image."
    )

    token = Unicode(
        help="""
        The service's token for BinderHub: a token of BinderHub's hub with the scope
        `access:services!service=<BinderHub's name>`. Default: the environment variable
        BINDERHUB_API_TOKEN. If it is empty, no token is sent.
        """,
    ).tag(config=True)

    use_service_token = Bool(
        False,
        help="""
        If `token` is empty, send the service's own hub token (JUPYTERHUB_API_TOKEN). Default:
        False. Set it to True if BinderHub is a service of the same hub, and give this service's
        role the scope `access:services!service=<BinderHub's name>`. Never set it for a BinderHub
        that somebody else runs: they would get your hub's token.
        """,
    ).tag(config=True)

    build_token_secret = Unicode(
        help="""
        The secret for BinderHub's build tokens, in hexadecimal, the same as
        `BinderHub.build_token_secret`. With it, BinderHub asks for no other token and sets no limit
        on builds. Default: the environment variable BINDERHUB_BUILD_TOKEN_SECRET. If it is empty,
        no build token is sent. Needs the extra `jupyterhub-binder[binderhub]`.
        """,
    ).tag(config=True)

    connect_timeout_seconds = Float(
        10, min=0.1, help="Time limit for making a connection, in seconds. Default: 10."
    ).tag(config=True)

    read_timeout_seconds = Float(
        90,
        min=1,
        help="""
        How long a stream may be silent before it counts as broken, in seconds. BinderHub sends a
        keep-alive every 25 seconds. The time of a build is limited by `Builds`. Default: 90.
        """,
    ).tag(config=True)

    reconnect_seconds = Float(
        1,
        min=0.01,
        help="""
        Delay before a broken connection is retried, in seconds. Each further delay is twice as
        long, up to 30 seconds. Default: 1.
        """,
    ).tag(config=True)

    failover_seconds = Float(
        30,
        min=0,
        help="""
        How long a broken connection is retried before the build goes to another BinderHub, or is
        requested again from the same one, in seconds. Default: 30.
        """,
    ).tag(config=True)

    give_up_seconds = Float(
        900,
        min=0,
        help="""
        How long a build waits if no BinderHub answers, in seconds. After that it fails, with a
        message that the repository is not the cause. Default: 900.
        """,
    ).tag(config=True)

    retry_failed_seconds = Float(
        90,
        min=0,
        help="Delay before a BinderHub that failed is tried again, in seconds. Default: 90.",
    ).tag(config=True)

    check_interval_seconds = Float(
        30,
        min=1,
        help="""
        Interval between checks of each BinderHub's health and providers, in seconds. Default: 30.
        """,
    ).tag(config=True)

    ignored_checks = List(
        Unicode(),
        ["JupyterHub API"],
        help="""
        Checks in BinderHub's `/health` to ignore because they say nothing about builds. Default:
        the check of its hub, which a BinderHub in API-only mode may not have.
        """,
    ).tag(config=True)

    images_dir = Unicode(
        help="""
        The folder that stores which images BinderHub has built. If it is lost, BinderHub is asked
        again. Default: `binderhub-images` in the service's `state_dir`.
        """,
    ).tag(config=True)

    revision = Unicode(
        "1",
        help="""
        Change this value to rebuild every environment the next time it is requested, for example
        after a change of BinderHub's registry or image prefix. Default: `1`.
        """,
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
        self._stack = AsyncExitStack()
        self._tasks = TaskSet(self.log)

    @abstractmethod
    def _remotes(self) -> Iterable[tuple[BinderHubRemote, float]]:
        """Return the BinderHubs and their weights. Raises ConfigurationError."""

    def _remote(
        self, name: str, url: str, *, trait: str, token: str = "", secret: str = ""
    ) -> BinderHubRemote:
        """Return one BinderHub, with the common settings."""
        return BinderHubRemote(
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
        """Check every BinderHub; one that is down or slow delays no start."""
        remotes = tuple(self._remotes())
        session = await self._stack.enter_async_context(borrow_session(self.session))
        self.hosts = tuple(
            Host(
                BinderHubClient(remote, session),
                weight=weight,
                ignored_checks=self.ignored_checks,
                retry_seconds=self.retry_failed_seconds,
            )
            for remote, weight in remotes
        )
        check = self._tasks.spawn(self.check_hosts(), name="first check of BinderHub")
        await asyncio.wait({check}, timeout=_FIRST_CHECK_SECONDS)
        self._tasks.spawn(self._keep_checking(), name="checks of BinderHub")

    async def stop(self) -> None:
        """Close all connections. Idempotent."""
        await self._tasks.close()
        await self._stack.aclose()

    async def _keep_checking(self) -> None:
        soon = Backoff(1, max_seconds=self.check_interval_seconds)
        while True:
            if all(status.state is not HostState.FAILED for status in self.statuses()):
                soon.reset()
                await asyncio.sleep(self.check_interval_seconds)
            else:
                await soon.wait()  # it may just be starting, as after a restart of the hub
            try:
                await self.check_hosts()
            except Exception:
                self.log.exception("BinderHub could not be checked")

    async def check_hosts(self) -> None:
        """Check health and providers of every BinderHub."""
        before = [status.state for status in self.statuses()]
        await asyncio.gather(*(host.check() for host in self.hosts))
        for state, status in zip(before, self.statuses(), strict=True):
            if status.state is not state:
                self.log.info("%s is %s %s", status.name, status.state, status.reason)

    def statuses(self) -> tuple[HostStatus, ...]:
        """Return the status of every BinderHub."""
        return tuple(host.status() for host in self.hosts)

    @property
    def provider_prefixes(self) -> frozenset[str] | None:
        """Return the providers of all BinderHubs; None if one does not list them."""
        known = [host.prefixes for host in self.hosts]
        if not known or None in known:
            return None
        return frozenset({PUBLISHED_IMAGES}).union(*(prefixes for prefixes in known if prefixes))

    async def health(self) -> str | None:
        """Return why no BinderHub can build now, or None."""
        if any(host.well for host in self.hosts):
            return None
        found = "; ".join(f"{host.name}: {host.reason}" for host in self.hosts)
        return f"No BinderHub can build at the moment. {found or 'None is configured.'}"

    # --- What is asked before a build -----------------------------------------------------------

    def fingerprint(self) -> str:
        """Return the admin's `rebuild` value.

        BinderHub builds each commit once, whatever its version, so its version does not count. Nor
        do addresses, because several can share one registry.
        """
        return f"binderhub {self.revision}"

    def assess(self, recipe: Recipe, options: Mapping[str, Any]) -> Assessment:
        """Return what repo2docker does with each file."""
        return plan.assess(recipe, debian=False)

    @property
    def _images(self) -> ImageMemory:
        return ImageMemory(Path(self.images_dir))

    async def find_image(self, key: str) -> str | None:
        """Return the image that is remembered for a content key.

        Only BinderHub knows whether the registry still has it.
        """
        return await self._images.find(key)

    async def delete_image(self, image: str) -> None:
        """Forget an image; the registry removes it."""
        await self._images.forget(image)

    # --- A build --------------------------------------------------------------------------------

    async def build(self, job: BuildJob) -> AsyncGenerator[BackendOutput, None]:
        """Build on one BinderHub; if it fails, continue on another."""
        build = job.build
        if build.spec.provider == PUBLISHED_IMAGES:
            image = build.resolved.published_image
            yield Line(Phase.BUILDING, f"The registry has the image already: {image}")
            await self._remember(build.key, image)
            yield Image(image)
            return
        spec = wire_spec(build.spec, build.resolved_ref)
        journey = _Journey(
            hosts=rank(self._hosts_for(build.spec.provider), repository_key(build.spec)),
            last=str(build.checkpoint.get("host", "")),
            backoff=Backoff(
                self.reconnect_seconds, max_seconds=30, patience_seconds=self.give_up_seconds
            ),
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
            except (HostDown, BinderHubRefused) as trouble:
                host.count_host_failure(str(trouble))
                self.log.warning("Build %s at %s: %s", build.id, host.name, trouble)
                journey.failed(host, trouble)

    def _hosts_for(self, prefix: str) -> Sequence[Host]:
        hosts = [host for host in self.hosts if host.builds(prefix)]
        if not hosts:
            raise BuildFailed(
                "This hub's BinderHub does not support repositories of type '%(kind)s'.",
                kind=prefix,
                code="unknown_provider",
            )
        return hosts

    async def _build_at(
        self, host: Host, spec: str, job: BuildJob
    ) -> AsyncGenerator[Line | Image, None]:
        """Follow the build on one BinderHub. Raises BuildFailed, HostDown, Refused."""
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
        """Remember an image; log a failure."""
        try:
            await self._images.keep(key, image)
        except OSError as error:
            self.log.warning(
                "%s.images_dir: can't write to %s (%s), so BinderHub will be asked for %s "
                "again. Free some space, let the service write there, or set another folder.",
                type(self).__name__,
                self.images_dir,
                error.strerror,
                image,
            )


def _about_image(ready: Ready, job: BuildJob, *, found: bool) -> Iterable[Line]:
    if found:
        yield Line(Phase.BUILDING, f"BinderHub already has the image: {ready.image}")
    if found and job.build.generation:
        yield Line(
            Phase.BUILDING,
            "BinderHub builds each commit only once. To have it built again, an administrator "
            "must delete the image from the registry.",
        )


@dataclass
class _Journey:
    """One build's search for a BinderHub."""

    hosts: list[Host]
    """In the repository's order of preference."""
    last: str
    """The host that an earlier run of the service chose."""
    backoff: Backoff
    """The waits after every host has failed."""
    _failed: dict[str, HostDown | BinderHubRefused] = field(default_factory=dict)
    """Each host's failure in this round."""
    _before: Host | None = None

    async def next_host(self) -> Host:
        """Return the next host, after a wait if all have failed. Raises BuildFailed."""
        if len(self._failed) == len(self.hosts):
            refused = all(isinstance(t, BinderHubRefused) for t in self._failed.values())
            if refused or not await self.backoff.wait():
                raise self._nobody_builds()
            self._failed.clear()
        left = [host for host in self.hosts if host.name not in self._failed]
        again = [host for host in left if host.name == self.last and host.well]
        well = [host for host in left if host.well]
        room = [host for host in well if not host.full]
        return next(iter((*again, *room, *well, *left)))

    def _nobody_builds(self) -> BuildFailed:
        reasons = dict.fromkeys(trouble.message for trouble in self._failed.values())
        return BuildFailed(
            "No BinderHub accepts this build: %(why)s. This is not the repository's fault. "
            "Build again later, or tell your administrator.",
            why=Message.joined(*reasons, by="; "),
            code="binderhub_unavailable",
        )

    def announcement(self, host: Host) -> str:
        """Return the log line about the next host, or ""."""
        before, self._before = self._before, host
        if before is not None and before is not host:
            return f"Continuing on {host.name}, where the build starts from the beginning."
        return f"Asking {host.name} for the image." if before is None else ""

    def failed(self, host: Host, trouble: HostDown | BinderHubRefused) -> None:
        """Note that a host failed."""
        self._failed[host.name] = trouble
        if isinstance(trouble, HostDown) and trouble.heard:
            self.backoff.reset()
