"""Environments, builds and launches for templates. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jupyterhub_binder.backends.base import HostState, HostStatus
from jupyterhub_binder.environments.upstream_words import describe, describe_hold
from jupyterhub_binder.model import (
    Build,
    BuildRequest,
    BuildState,
    Environment,
    EnvironmentState,
    Launch,
    LaunchState,
    Phase,
)
from jupyterhub_binder.model.preferences import Preference
from jupyterhub_binder.model.text import Message
from jupyterhub_binder.model.upstream import Newer
from jupyterhub_binder.model.words import (
    BUILD_WORDS,
    LAUNCH_WORDS,
    PHASE_WORDS,
    STATUS_WORDS,
    server_words,
)
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.i18n.language import N_, number, say
from jupyterhub_binder.web.i18n.language import gettext as _

if TYPE_CHECKING:
    from jupyterhub_binder.admin.rules import Refusal
    from jupyterhub_binder.builds.service import BuildProgress
    from jupyterhub_binder.launches.service import Server


@dataclass(frozen=True, slots=True)
class Pill:
    """A state's word and its kind, for icon and colour."""

    kind: str
    word: str
    building: bool = False
    """Whether it says that a build is queued or running; scripts ask when the service is away."""

    @property
    def label(self) -> str:
        """The translated word."""
        return say(self.word)


_ENVIRONMENT_KINDS = {
    EnvironmentState.QUEUED: "busy",
    EnvironmentState.BUILDING: "busy",
    EnvironmentState.READY: "good",
    EnvironmentState.FAILED: "bad",
}
_UNFINISHED = (EnvironmentState.QUEUED, EnvironmentState.BUILDING)
_BUILD_KINDS = {
    BuildState.PENDING: "busy",
    BuildState.RUNNING: "busy",
    BuildState.BUILT: "good",
    BuildState.FAILED: "bad",
}
_LAUNCH_KINDS = {
    LaunchState.PENDING: "busy",
    LaunchState.STARTING: "busy",
    LaunchState.READY: "good",
    LaunchState.FAILED: "bad",
}
_STEPS = (
    (Phase.WAITING, N_("Queued")),
    (Phase.FETCHING, N_("Fetching")),
    (Phase.BUILDING, N_("Building")),
    (Phase.PUSHING, N_("Saving")),
    (Phase.BUILT, N_("Ready")),
)


@dataclass(frozen=True, slots=True)
class BuildView:
    """A build, for one person."""

    build: Build
    progress: BuildProgress | None = None
    environment: Environment | None = None
    request: BuildRequest | None = None

    @property
    def state(self) -> BuildState:
        """A withdrawn request counts as cancelled."""
        if self.request is not None and self.request.withdrawn is not None:
            return BuildState.CANCELLED
        return self.build.state

    @property
    def finished(self) -> bool:
        """Whether the build has ended."""
        return self.state.finished

    @property
    def pill(self) -> Pill:
        """The state."""
        kind = _BUILD_KINDS.get(self.state, "idle")
        return Pill(kind, BUILD_WORDS[self.state], building=not self.finished)

    @property
    def title(self) -> str:
        """``Build 7``, or ``A build`` outside the person's environments."""
        return _("Build %(number)s", number=self.request.number) if self.request else _("A build")

    @property
    def words(self) -> str:
        """Progress: ``number 3 in the queue``."""
        if self.build.state is BuildState.PENDING:
            position = self.progress.queue_position if self.progress else None
            return queue_words(position)
        if self.progress and self.progress.step:
            return say(self.progress.step)
        return say(PHASE_WORDS[self.build.phase])

    @property
    def elapsed(self) -> float | None:
        """Seconds since the start, or the duration."""
        if self.build.finished:
            return self.build.duration_seconds
        return self.progress.elapsed_seconds if self.progress else None

    @property
    def waited(self) -> float | None:
        """Seconds in the queue before the first start; the log tells of later ones."""
        if self.build.started is None:
            return None
        return (self.build.started - self.build.created).total_seconds()

    @property
    def expected(self) -> float | None:
        """Expected total seconds."""
        return self.progress.expected_seconds if self.progress else None

    @property
    def late(self) -> bool:
        """Whether it takes longer than expected."""
        return bool(self.expected and self.elapsed and self.elapsed > self.expected)

    @property
    def others(self) -> int:
        """How many other people wait."""
        return max(0, self.progress.people - 1) if self.progress else 0

    @property
    def steps(self) -> list[dict[str, str]]:
        """The phases, each ``done``, ``now`` or ``later`` (``bad``, ``off``)."""
        order = [phase for phase, *rest in _STEPS]
        phase = self.build.phase
        if self.state is BuildState.BUILT:
            reached = len(order)
        elif self.state.finished and self.build.started is None:
            reached = 0
        else:
            reached = order.index(phase) if phase in order else order.index(Phase.BUILDING)
        current = {BuildState.FAILED: "bad", BuildState.CANCELLED: "off"}.get(self.state, "now")
        status = ["done"] * reached + [current] + ["later"] * len(order)
        return [
            {"key": key.value, "label": _(label), "status": status[index]}
            for index, (key, label) in enumerate(_STEPS)
        ]


def queue_words(position: int | None) -> str:
    """Describe a queue position, from 1."""
    if position is None:
        return say(PHASE_WORDS[Phase.WAITING])
    if position <= 1:
        return _("next in the queue")
    return _("number %(position)s in the queue", position=position)


@dataclass(frozen=True, slots=True)
class ServerView:
    """A running server of an environment."""

    server: Server

    @property
    def outdated(self) -> bool:
        """Whether it runs in another build than the next one would."""
        return self.server.outdated

    @property
    def number(self) -> int | None:
        """The other build's number, if it is known."""
        return self.server.build_number if self.outdated else None

    @property
    def words(self) -> str:
        """As `model.words.server_words`."""
        of = self.server
        return say(server_words(of.name, of.build_number, outdated=of.outdated))


def _pill_of(state: EnvironmentState) -> Pill:
    kind = _ENVIRONMENT_KINDS.get(state, "idle")
    return Pill(kind, STATUS_WORDS[state], building=state in _UNFINISHED)


@dataclass(frozen=True, slots=True)
class EnvironmentView:
    """An environment in a list or on its page.

    It has one word each for itself (`pill`), its newest build (`build_pill`) and its servers.
    """

    environment: Environment
    progress: BuildProgress | None = None
    servers: tuple[ServerView, ...] = ()
    """The person's running ones."""
    newer: Newer | None = None
    """What the repository has newer."""
    preference: Preference = field(default_factory=Preference)
    refusal: Refusal | None = None
    """Why it can't be built or launched by this person."""

    @property
    def newer_words(self) -> str:
        """``3 new commits · only files changed, no build needed``."""
        return say(describe(self.newer)) if self.newer else ""

    @property
    def hold_words(self) -> str:
        """Why it is not updated by itself for now."""
        return say(describe_hold(self.environment)) if self.environment.held else ""

    @property
    def id(self) -> str:
        """The id."""
        return self.environment.id

    @property
    def state(self) -> EnvironmentState:
        """The state."""
        return self.environment.state

    @property
    def usable(self) -> bool:
        """Whether a server can start without a build."""
        return self.environment.current is not None

    @property
    def pill(self) -> Pill:
        """What the environment is, whatever became of its newest build."""
        return _pill_of(self.environment.status)

    @property
    def build_pill(self) -> Pill | None:
        """The newest build of an environment that is usable meanwhile."""
        return _pill_of(self.state) if self.usable and self.unfinished else None

    @property
    def kind(self) -> str:
        """What a browser's tab shows."""
        return (self.build_pill or self.pill).kind

    @property
    def unfinished(self) -> bool:
        """Whether the state will change by itself."""
        return self.state in _UNFINISHED

    @property
    def build(self) -> BuildView | None:
        """The newest build."""
        latest = self.environment.latest
        if latest is None:
            return None
        return BuildView(latest.build, self.progress, self.environment, latest)

    @property
    def earlier(self) -> BuildRequest | None:
        """An earlier build that still starts, if the newest doesn't."""
        current = self.environment.current
        return None if self.state is EnvironmentState.READY else current

    @property
    def shown(self) -> BuildRequest | None:
        """The build whose commit and size are shown."""
        return self.environment.current or self.environment.latest

    @property
    def outdated(self) -> tuple[ServerView, ...]:
        """The servers that a restart would bring into the current build."""
        return tuple(each for each in self.servers if each.outdated)

    @property
    def launch_label(self) -> str:
        """The primary button's label."""
        if self.usable:
            return _("Launch")
        return _("Launch when ready") if self.unfinished else _("Build and launch")


@dataclass(frozen=True, slots=True)
class LaunchView:
    """A launch and the build it waits for."""

    launch: Launch
    environment: Environment | None = None
    build: BuildView | None = None
    now: datetime = field(default_factory=utc_now)

    @property
    def starting_seconds(self) -> float:
        """How long the hub has been starting the server: since the launch, or since its build."""
        began = self.launch.created
        if self.build and self.build.build.finished:
            began = max(began, self.build.build.finished)
        return (self.now - began).total_seconds()

    @property
    def pill(self) -> Pill:
        """The state."""
        state = self.launch.state
        waits = state is LaunchState.PENDING
        return Pill(_LAUNCH_KINDS.get(state, "idle"), LAUNCH_WORDS[state], building=waits)

    @property
    def words(self) -> str:
        """The progress."""
        launch = self.launch
        if launch.message:
            return say(launch.message)
        if launch.state is LaunchState.PENDING:
            return self.build.words if self.build else _("waiting for the build")
        return _("asking the hub to start a server") if launch.state is LaunchState.STARTING else ""


_HOST_PILLS = {
    HostState.UNKNOWN: Pill("idle", Message("Not checked yet")),
    HostState.OK: Pill("good", Message("OK")),
    HostState.FULL: Pill("busy", Message("Full")),
    HostState.FAILED: Pill("bad", Message("Unavailable")),
}


@dataclass(frozen=True, slots=True)
class HostView:
    """A BinderHub."""

    status: HostStatus

    @property
    def pill(self) -> Pill:
        """The state."""
        return _HOST_PILLS[self.status.state]

    @property
    def words(self) -> str:
        """``2 running, 41 built, 3 failed, 1 lost``."""
        of = self.status
        counts = (
            (of.running, N_("%(num)s running")),
            (of.built, N_("%(num)s built")),
            (of.build_failures, N_("%(num)s failed")),
            (of.host_failures, N_("%(num)s lost")),
        )
        said = [_(words, num=number(n)) for n, words in counts if n]
        return ", ".join(said) or _("no builds yet")


def server_link(url: str | None, hub_host: str = "") -> str | None:
    """Return a server's URL if it is on this site or on the hub's domain, else None."""
    if not url or "\\" in url or any(ord(character) <= 32 for character in url):
        return None
    parts, hub = urlsplit(url), urlsplit(hub_host)
    if not parts.scheme and not url.startswith("//"):
        return url if url.startswith("/") else None
    domain, host = hub.hostname, parts.hostname
    ours = domain and host and (host == domain or host.endswith(f".{domain}"))
    return url if ours and parts.scheme == hub.scheme and "@" not in parts.netloc else None
