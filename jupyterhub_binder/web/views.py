"""What the pages show of environments, builds and launches, decided without effects.

Pure: each view wraps model objects and answers the questions that a template asks.
Fetching them is the business of `pages`, putting them into words of `templates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyterhub_binder.backends.base import HostState, HostStatus
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
from jupyterhub_binder.web.i18n import N_, number
from jupyterhub_binder.web.i18n import gettext as _
from jupyterhub_binder.web.sentences import say

if TYPE_CHECKING:
    from jupyterhub_binder.builds import Standing
    from jupyterhub_binder.launches import Server


@dataclass(frozen=True, slots=True)
class Pill:
    """A state as a person sees it: a word, and the kind that chooses sign and colour."""

    kind: str
    word: str

    @property
    def label(self) -> str:
        """Return the word in the language that is spoken."""
        return _(self.word)


_PILLS = {
    EnvironmentState.UNBUILT: Pill("idle", N_("Not built yet")),
    EnvironmentState.QUEUED: Pill("busy", N_("Queued")),
    EnvironmentState.BUILDING: Pill("busy", N_("Building")),
    EnvironmentState.READY: Pill("good", N_("Ready")),
    EnvironmentState.FAILED: Pill("bad", N_("Failed")),
    EnvironmentState.CANCELLED: Pill("idle", N_("Cancelled")),
}
_BUILD_PILLS = {
    BuildState.PENDING: _PILLS[EnvironmentState.QUEUED],
    BuildState.RUNNING: _PILLS[EnvironmentState.BUILDING],
    BuildState.BUILT: Pill("good", N_("Built")),
    BuildState.FAILED: _PILLS[EnvironmentState.FAILED],
    BuildState.CANCELLED: _PILLS[EnvironmentState.CANCELLED],
}
_LAUNCH_PILLS = {
    LaunchState.PENDING: Pill("busy", N_("Waiting for the build")),
    LaunchState.STARTING: Pill("busy", N_("Starting")),
    LaunchState.READY: Pill("good", N_("Running")),
    LaunchState.FAILED: Pill("bad", N_("Failed")),
    LaunchState.CANCELLED: Pill("idle", N_("Cancelled")),
}
PHASE_WORDS = {
    Phase.WAITING: N_("waiting in the queue"),
    Phase.FETCHING: N_("fetching the repository"),
    Phase.BUILDING: N_("installing packages"),
    Phase.PUSHING: N_("storing the result"),
    Phase.BUILT: N_("built"),
    Phase.FAILED: N_("failed"),
}
_STEPS = (
    (Phase.WAITING, N_("Queued")),
    (Phase.FETCHING, N_("Fetching")),
    (Phase.BUILDING, N_("Building")),
    (Phase.PUSHING, N_("Storing")),
    (Phase.BUILT, N_("Ready")),
)


@dataclass(frozen=True, slots=True)
class BuildView:
    """One build, as this person's environment asked for it."""

    build: Build
    standing: Standing | None = None
    environment: Environment | None = None
    request: BuildRequest | None = None

    @property
    def state(self) -> BuildState:
        """Return the state for this person: a withdrawn request reads as cancelled."""
        if self.request is not None and self.request.withdrawn is not None:
            return BuildState.CANCELLED
        return self.build.state

    @property
    def finished(self) -> bool:
        """Say whether there is nothing more to wait for."""
        return self.state.finished

    @property
    def pill(self) -> Pill:
        """Return the state's word and kind."""
        return _BUILD_PILLS[self.state]

    @property
    def title(self) -> str:
        """Return ``Build 7``, or ``Build`` where it is of no environment of the person's."""
        return _("Build %(number)s", number=self.request.number) if self.request else _("A build")

    @property
    def words(self) -> str:
        """Say what the build does now: ``third in the queue``, ``installing packages``."""
        if self.build.state is BuildState.PENDING:
            position = self.standing.queue_position if self.standing else None
            return queue_words(position)
        return _(PHASE_WORDS[self.build.phase])

    @property
    def elapsed(self) -> float | None:
        """Return the seconds since the start, or those it took."""
        if self.build.finished:
            return self.build.duration_seconds
        return self.standing.elapsed_seconds if self.standing else None

    @property
    def waited(self) -> float | None:
        """Return the seconds between the wish and the start."""
        if self.build.started is None:
            return None
        return (self.build.started - self.build.created).total_seconds()

    @property
    def expected(self) -> float | None:
        """Return the seconds that it is expected to take in all."""
        return self.standing.expected_seconds if self.standing else None

    @property
    def others(self) -> int:
        """Return how many more people wait for this build."""
        return max(0, self.standing.people - 1) if self.standing else 0

    @property
    def steps(self) -> list[dict[str, str]]:
        """Return the phases in order, each ``done``, ``now`` or ``later`` (``bad``, ``off``)."""
        order = [phase for phase, *rest in _STEPS]
        phase = self.build.phase
        if self.state is BuildState.BUILT:
            reached = len(order)
        else:
            reached = order.index(phase) if phase in order else order.index(Phase.BUILDING)
        current = {BuildState.FAILED: "bad", BuildState.CANCELLED: "off"}.get(self.state, "now")
        status = ["done"] * reached + [current] + ["later"] * len(order)
        return [
            {"key": key.value, "label": _(label), "status": status[index]}
            for index, (key, label) in enumerate(_STEPS)
        ]


def queue_words(position: int | None) -> str:
    """Say a place in the queue, which counts from 1."""
    if position is None:
        return _(PHASE_WORDS[Phase.WAITING])
    if position <= 1:
        return _("next in the queue")
    return _("number %(position)s in the queue", position=position)


@dataclass(frozen=True, slots=True)
class EnvironmentView:
    """One environment of a list or of its own page."""

    environment: Environment
    standing: Standing | None = None
    server: Server | None = None
    """The person's running server of this environment, if there is one."""

    @property
    def id(self) -> str:
        """Return the environment's id."""
        return self.environment.id

    @property
    def state(self) -> EnvironmentState:
        """Return the environment's state."""
        return self.environment.state

    @property
    def pill(self) -> Pill:
        """Return the state's word and kind."""
        return _PILLS[self.state]

    @property
    def unfinished(self) -> bool:
        """Say whether the state will change by itself."""
        return self.state in (EnvironmentState.QUEUED, EnvironmentState.BUILDING)

    @property
    def build(self) -> BuildView | None:
        """Return the newest build."""
        latest = self.environment.latest
        if latest is None:
            return None
        return BuildView(latest.build, self.standing, self.environment, latest)

    @property
    def earlier(self) -> BuildRequest | None:
        """Return the build that still starts although the newest one did not succeed."""
        current = self.environment.current
        return None if self.state is EnvironmentState.READY else current

    @property
    def shown(self) -> BuildRequest | None:
        """Return the build whose commit and size are shown."""
        return self.environment.latest or self.environment.current

    @property
    def launch_label(self) -> str:
        """Say what the one button does."""
        if self.state is EnvironmentState.READY:
            return _("Launch")
        if self.unfinished:
            return _("Launch when ready")
        return _("Launch earlier") if self.environment.current else _("Build and launch")


@dataclass(frozen=True, slots=True)
class LaunchView:
    """One launch, with what it waits for."""

    launch: Launch
    environment: Environment | None = None
    build: BuildView | None = None

    @property
    def pill(self) -> Pill:
        """Return the state's word and kind."""
        return _LAUNCH_PILLS[self.launch.state]

    @property
    def words(self) -> str:
        """Say what happens now."""
        launch = self.launch
        if launch.message:
            return say(launch.message)
        if launch.state is LaunchState.PENDING:
            return self.build.words if self.build else _("waiting for the build")
        return _("asking the hub for a server") if launch.state is LaunchState.STARTING else ""


_HOST_PILLS = {
    HostState.UNKNOWN: Pill("idle", N_("Not asked yet")),
    HostState.OK: Pill("good", N_("Well")),
    HostState.FULL: Pill("busy", N_("Full")),
    HostState.FAILED: Pill("bad", N_("Sent nothing")),
}


@dataclass(frozen=True, slots=True)
class HostView:
    """One of the BinderHubs that builds are sent to."""

    status: HostStatus

    @property
    def pill(self) -> Pill:
        """Return the state's word and kind."""
        return _HOST_PILLS[self.status.state]

    @property
    def words(self) -> str:
        """Say what it does and did: ``2 running, 41 built, 3 failed, 1 lost``."""
        of = self.status
        counts = (
            (of.running, N_("%(num)s running")),
            (of.built, N_("%(num)s built")),
            (of.build_failures, N_("%(num)s failed")),
            (of.host_failures, N_("%(num)s lost")),
        )
        said = [_(words, num=number(n)) for n, words in counts if n]
        return ", ".join(said) or _("no builds yet")


def server_path(url: str | None) -> str | None:
    """Return a server's address if it stays on this site, else None."""
    if not url or not url.startswith("/") or url[1:2] in ("/", "\\") or "\\" in url[:3]:
        return None
    return None if any(ord(character) < 32 for character in url) else url
