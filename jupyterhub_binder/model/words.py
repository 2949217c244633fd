"""The word for each state, in one place: for the pages, the command line and errors."""

from __future__ import annotations

from collections.abc import Mapping

from jupyterhub_binder.model import BuildState, EnvironmentState, LaunchState, Phase
from jupyterhub_binder.model.text import Message

_QUEUED, _BUILDING = Message("Queued"), Message("Building")
_FAILED, _CANCELLED = Message("Failed"), Message("Cancelled")
_NOT_BUILT = Message("Not built yet")

STATUS_WORDS: Mapping[EnvironmentState, Message] = {
    EnvironmentState.UNBUILT: _NOT_BUILT,
    EnvironmentState.QUEUED: _QUEUED,
    EnvironmentState.BUILDING: _BUILDING,
    EnvironmentState.READY: Message("Ready"),
    EnvironmentState.FAILED: _FAILED,
    EnvironmentState.CANCELLED: _NOT_BUILT,
}
"""Of `Environment.status`."""
BUILD_WORDS: Mapping[BuildState, Message] = {
    BuildState.PENDING: _QUEUED,
    BuildState.RUNNING: _BUILDING,
    BuildState.BUILT: Message("Built"),
    BuildState.FAILED: _FAILED,
    BuildState.CANCELLED: _CANCELLED,
}
LAUNCH_WORDS: Mapping[LaunchState, Message] = {
    LaunchState.PENDING: Message("Waiting for the build"),
    LaunchState.STARTING: Message("Starting"),
    LaunchState.READY: Message("Running"),
    LaunchState.FAILED: _FAILED,
    LaunchState.CANCELLED: _CANCELLED,
}
PHASE_WORDS: Mapping[Phase, Message] = {
    Phase.WAITING: Message("waiting in the queue"),
    Phase.FETCHING: Message("fetching the repository"),
    Phase.BUILDING: Message("building the environment"),
    Phase.PUSHING: Message("saving the result"),
    Phase.BUILT: Message("built"),
    Phase.FAILED: Message("failed"),
}


def server_words(name: str, number: int | None, *, outdated: bool) -> Message:
    """Return ``Running in build 1 · gpu``: the build if it is another one, the server if named."""
    said = Message("Running")
    if outdated and number:
        said = Message("Running in build %(number)s", number=number)
    elif outdated:
        said = Message("Running in another build")
    return Message.joined(said, name, by=" · ")
