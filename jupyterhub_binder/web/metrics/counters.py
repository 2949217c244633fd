"""Counters for builds, launches, responses and transactions.

Labels have few, known values; never a person or repository.
"""

from __future__ import annotations

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram

from jupyterhub_binder.builds.service import RequestOutcome
from jupyterhub_binder.errors import LimitReached, StoreUnavailable, WrongSignature
from jupyterhub_binder.model import Build, BuildState, Launch, LaunchState
from jupyterhub_binder.model.prebuild import Outcome

PREFIX = "jupyterhub_binder"
"""Prefix of all names."""

_BUILD_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_WAIT_SECONDS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200)
_LAUNCH_SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
_ANSWER_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_TRANSACTION_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2, 10)
_MAX_CODES = 80
"""Far more than in use. Later ones count as `other`."""


_REPORTED = (Outcome.ACCEPTED, Outcome.REPEATED)
_DELIVERED = (*_REPORTED, Outcome.PING, Outcome.IGNORED)
_NOT_TAKEN = (WrongSignature.code, LimitReached.code, StoreUnavailable.code)


class MessageKind(StrEnum):
    """What was sent."""

    DELIVERY = "delivery"
    REPORT = "report"


class _Codes:
    """Limits a label to the first values seen."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def bounded(self, code: str) -> str:
        if len(self._known) < _MAX_CODES:
            self._known.add(code)
        return code if code in self._known else "other"


class BuildCounters:
    """Builds: requests, waiting, duration and failures."""

    def __init__(self, registry: CollectorRegistry, *, backend: str) -> None:
        self._builds = Histogram(
            f"{PREFIX}_build_seconds",
            "Finished builds by how they ended, and how long they took from their begin",
            ["backend", "state"],
            buckets=_BUILD_SECONDS,
            registry=registry,
        )
        self._waits = Histogram(
            f"{PREFIX}_build_wait_seconds",
            "How long builds waited in the queue before they began",
            buckets=_WAIT_SECONDS,
            registry=registry,
        )
        self._reasons = Counter(
            f"{PREFIX}_build_failures",
            "Builds that failed, by the code of the reason",
            ["reason"],
            registry=registry,
        )
        self._requests = Counter(
            f"{PREFIX}_build_requests",
            "Requests for a build: one was begun, joined, or there already",
            ["outcome"],
            registry=registry,
        )
        self._codes = _Codes()
        # All series exist from the start, so that the first event shows as an increase.
        for state in BuildState:
            if state.finished:
                self._builds.labels(backend, state)
        for outcome in RequestOutcome:
            self._requests.labels(outcome)

    def count_request(self, outcome: RequestOutcome) -> None:
        """Count a build request."""
        self._requests.labels(outcome).inc()

    def count_end(self, build: Build) -> None:
        """Count a finished build."""
        if build.state.finished:
            # A build cancelled in the queue has no duration.
            self._builds.labels(build.backend, build.state).observe(build.duration_seconds or 0)
        if build.started is not None:
            waited = (build.started - build.created).total_seconds()
            self._waits.observe(max(0, waited))
        if build.state is BuildState.FAILED and build.reason is not None:
            self._reasons.labels(self._codes.bounded(build.reason.code)).inc()


class LaunchCounters:
    """Launches: outcomes and duration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._launches = Histogram(
            f"{PREFIX}_launch_seconds",
            "Finished launches by how they ended, and how long they took, builds included",
            ["state"],
            buckets=_LAUNCH_SECONDS,
            registry=registry,
        )
        for state in LaunchState:
            if state.finished:
                self._launches.labels(state)

    def count_end(self, launch: Launch) -> None:
        """Count a finished launch."""
        if launch.finished is not None:
            seconds = (launch.finished - launch.created).total_seconds()
            self._launches.labels(launch.state).observe(max(0, seconds))


class AnswerCounters:
    """Responses and errors."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            f"{PREFIX}_http_responses",
            "Answers to HTTP requests by status",
            ["status"],
            registry=registry,
        )
        self._seconds = Histogram(
            f"{PREFIX}_http_response_seconds",
            "How long answers took, but for streams of events",
            ["kind"],
            buckets=_ANSWER_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            f"{PREFIX}_errors", "Errors that were answered, by code", ["code"], registry=registry
        )
        self._codes = _Codes()
        for status in (200, 500, 503):
            self._answers.labels(status)
        for kind in ("api", "page"):
            self._seconds.labels(kind)
        self._errors.labels("internal")

    def count_answer(self, status: int, kind: str | None, seconds: float) -> None:
        """Count a response; a stream's `kind` is None."""
        self._answers.labels(status).inc()
        if kind is not None:
            self._seconds.labels(kind).observe(seconds)

    def count_error(self, code: str) -> None:
        """Count an error response."""
        self._errors.labels(self._codes.bounded(code)).inc()


class MessageCounters:
    """What others send, signed: deliveries of git hosts, reports of the detector."""

    def __init__(self, registry: CollectorRegistry) -> None:
        deliveries = Counter(
            f"{PREFIX}_hook_deliveries",
            "Deliveries to webhooks by what became of them",
            ["outcome"],
            registry=registry,
        )
        reports = Counter(
            f"{PREFIX}_detector_reports",
            "Messages of the detector by what became of them",
            ["outcome"],
            registry=registry,
        )
        self._counters = {MessageKind.DELIVERY: deliveries, MessageKind.REPORT: reports}
        self._codes = _Codes()
        for outcome in (*_DELIVERED, *_NOT_TAKEN):
            deliveries.labels(self._codes.bounded(outcome))
        for outcome in (*_REPORTED, *_NOT_TAKEN):
            reports.labels(self._codes.bounded(outcome))

    def count(self, kind: MessageKind, outcome: str) -> None:
        """Count a message; `outcome` is an error's code if it was not taken."""
        self._counters[kind].labels(self._codes.bounded(outcome)).inc()


class DatabaseCounters:
    """The database's transactions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._transactions = Histogram(
            f"{PREFIX}_database_seconds",
            "Transactions, and how long they took",
            buckets=_TRANSACTION_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            f"{PREFIX}_database_errors",
            "Transactions that failed because the database did not work",
            registry=registry,
        )

    def count(self, seconds: float, failed: bool) -> None:
        """Count a transaction, in the store's thread."""
        self._transactions.observe(seconds)
        if failed:
            self._errors.inc()
