"""What the service counts, for Prometheus: the numbers at ``/metrics``.

Each service has a registry of its own. What happens is counted as it happens; what stands is
read when it is asked for. Labels are few and known beforehand: states, the names of backends
and of configured BinderHubs; never a person's or a repository's.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from jupyterhub_binder._version import __version__
from jupyterhub_binder.backends.base import HostState, HostStatus
from jupyterhub_binder.builds import Met
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.model import Build, BuildState, Launch, LaunchState
from jupyterhub_binder.web.base import APIHandler

if TYPE_CHECKING:
    from jupyterhub_binder.store import Store
    from jupyterhub_binder.web.context import Services

METRICS_SCOPE = "read:metrics"
"""The hub's own scope for its metrics: one token reads both."""

_PREFIX = "jupyterhub_binder"
_BUILD_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_WAIT_SECONDS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200)
_TRANSACTION_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2, 10)
_ANSWER_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_MOST_CODES = 80
"""Error codes that have a series each: far more than there are. Later ones would be `other`."""
_LAUNCH_SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """The numbers of one service."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, services: Services, *, authenticate: bool = True) -> None:
        self.authenticate = authenticate
        """Whether only somebody who may is answered."""
        self._services = services
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        about = Info(_PREFIX, "What runs", registry=registry)
        about.info({"version": __version__, "backend": services.backend.name})
        self._builds = Histogram(
            f"{_PREFIX}_build_seconds",
            "Finished builds by how they ended, and how long they took from their begin",
            ["backend", "state"],
            buckets=_BUILD_SECONDS,
            registry=registry,
        )
        self._waits = Histogram(
            f"{_PREFIX}_build_wait_seconds",
            "How long builds waited in the queue before they began",
            buckets=_WAIT_SECONDS,
            registry=registry,
        )
        self._reasons = Counter(
            f"{_PREFIX}_build_failures",
            "Builds that failed, by the code of the reason",
            ["reason"],
            registry=registry,
        )
        self._wishes = Counter(
            f"{_PREFIX}_build_requests",
            "Wishes for a build: one was begun, joined, or there already",
            ["outcome"],
            registry=registry,
        )
        self._launches = Histogram(
            f"{_PREFIX}_launch_seconds",
            "Finished launches by how they ended, and how long they took, builds included",
            ["state"],
            buckets=_LAUNCH_SECONDS,
            registry=registry,
        )
        self._answers = Counter(
            f"{_PREFIX}_http_responses",
            "Answers to HTTP requests by status",
            ["status"],
            registry=registry,
        )
        self._seconds = Histogram(
            f"{_PREFIX}_http_response_seconds",
            "How long answers took, but for streams of events",
            ["kind"],
            buckets=_ANSWER_SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            f"{_PREFIX}_errors", "Errors that were answered, by code", ["code"], registry=registry
        )
        self._transactions = Histogram(
            f"{_PREFIX}_database_seconds",
            "Transactions, and how long they took",
            buckets=_TRANSACTION_SECONDS,
            registry=registry,
        )
        self._transaction_errors = Counter(
            f"{_PREFIX}_database_errors",
            "Transactions that failed because the database did not work",
            registry=registry,
        )
        self._store: Store | None = None
        self._state_dir = ""
        self._codes: dict[str, set[str]] = {"reason": set(), "code": set()}
        self._begin_at_zero()
        self._parts: Mapping[str, str | None] = {}
        registry.register(_Standing(self))
        services.builds.when_met = self._count_wish
        services.builds.when_ended = self._count_build
        services.launches.when_ended = self._count_launch

    def _begin_at_zero(self) -> None:
        """Make every series that will come be there, so that the first event is a rise."""
        for state in BuildState:
            if state.finished:
                self._builds.labels(self._services.backend.name, state)
        for outcome in Met:
            self._wishes.labels(outcome)
        for state in LaunchState:
            if state.finished:
                self._launches.labels(state)
        for status in (200, 500, 503):
            self._answers.labels(status)
        for kind in ("api", "page"):
            self._seconds.labels(kind)
        self._errors.labels("internal")

    def watch(self, store: Store, *, state_dir: str) -> None:
        """Count the transactions of a store, too, and the free bytes of the disk."""
        self._store, self._state_dir = store, state_dir
        store.watch(when_done=self._count_transaction)

    # --- Counted as it happens ----------------------------------------------------------------

    def _count_wish(self, met: Met) -> None:
        self._wishes.labels(met).inc()

    def _count_build(self, build: Build) -> None:
        if build.state.finished:
            # One that was cancelled in the queue took no time.
            self._builds.labels(build.backend, build.state).observe(build.duration_seconds or 0)
        if build.started is not None:
            waited = (build.started - build.created).total_seconds()
            self._waits.observe(max(0, waited))
        if build.state is BuildState.FAILED and build.reason is not None:
            self._reasons.labels(self._bounded("reason", build.reason.code)).inc()

    def _bounded(self, label: str, code: str) -> str:
        """Return a code as a label's value: there are few of them, whatever happens."""
        known = self._codes[label]
        if len(known) < _MOST_CODES:
            known.add(code)
        return code if code in known else "other"

    def _count_transaction(self, seconds: float, failed: bool) -> None:
        """Count a transaction; called in the store's own thread."""
        self._transactions.observe(seconds)
        if failed:
            self._transaction_errors.inc()

    def _count_launch(self, launch: Launch) -> None:
        if launch.finished is not None:
            seconds = (launch.finished - launch.created).total_seconds()
            self._launches.labels(launch.state).observe(max(0, seconds))

    def count_answer(self, status: int, kind: str | None, seconds: float) -> None:
        """Count an answer to a request; `kind` is ``api``, ``page`` or, for a stream, None."""
        self._answers.labels(status).inc()
        if kind is not None:
            self._seconds.labels(kind).observe(seconds)

    def count_error(self, code: str) -> None:
        """Count an error that was answered."""
        self._errors.labels(self._bounded("code", code)).inc()

    # --- Read when asked for --------------------------------------------------------------------

    async def read(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        self._parts = await self._services.health()
        # Not in a thread: what stands belongs to the event loop, and reading it takes a moment.
        return generate_latest(self._registry)

    def standing(self) -> Iterator[Metric]:
        """Yield what stands at this moment."""
        services = self._services
        queue = services.builds.queue()
        yield _gauge("builds_waiting", "Builds in the queue", len(queue.waiting))
        oldest = min((build.created for build in queue.waiting), default=None)
        seconds = (utc_now() - oldest).total_seconds() if oldest else 0
        yield _gauge("builds_oldest_waiting_seconds", "Age of the oldest in the queue", seconds)
        yield _gauge("builds_running", "Builds under way", len(queue.running))
        yield _gauge("builds_running_most", "Builds that may run", services.builds.max_running)
        yield _gauge("launches_running", "Launches under way", services.launches.under_way)
        yield _gauge("watchers", "Open streams of events", len(services.streams))
        drained = services.command.drain.state is not None
        yield _gauge("draining", "Whether an admin lets no build begin", drained)
        yield from self._of_store()
        up = GaugeMetricFamily(f"{_PREFIX}_part_up", "Whether a part works", labels=["part"])
        for part, wrong in self._parts.items():
            up.add_metric([part], wrong is None)
        yield up
        yield from _of_hosts(services.backend.statuses())

    def _of_store(self) -> Iterator[Metric]:
        if self._store is None:
            return
        yield CounterMetricFamily(
            f"{_PREFIX}_database_reconnections",
            "Lost connections to the database that were taken up again",
            value=self._store.reconnections,
        )
        free = shutil.disk_usage(self._state_dir).free
        yield _gauge("disk_free_bytes", "Free bytes where the service keeps its state", free)


class _Standing(Collector):
    """What `Metrics.standing` yields, for the registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry need not look at names before there are values."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the values of this moment."""
        return self._metrics.standing()


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", help_, value=value)


def _of_hosts(hosts: Iterable[HostStatus]) -> Iterator[Metric]:
    """Yield how each BinderHub stands, and what it did since the service started."""
    up = GaugeMetricFamily(f"{_PREFIX}_host_up", "Whether it is sent builds", labels=["host"])
    running = GaugeMetricFamily(
        f"{_PREFIX}_host_builds_running", "Builds that it is making", labels=["host"]
    )
    builds = CounterMetricFamily(
        f"{_PREFIX}_host_builds",
        "Builds by what became of them: built, failed, or lost through the host",
        labels=["host", "outcome"],
    )
    for host in hosts:
        up.add_metric([host.name], host.state is not HostState.FAILED)
        running.add_metric([host.name], host.running)
        builds.add_metric([host.name, "built"], host.built)
        builds.add_metric([host.name, "failed"], host.build_failures)
        builds.add_metric([host.name, "lost"], host.host_failures)
    yield from (up, running, builds)


class MetricsHandler(APIHandler):
    """``/metrics``: for admins, and for tokens with the hub's own scope for metrics."""

    async def prepare(self) -> None:
        """Refuse whoever may not; ask the hub nothing where everybody may."""
        if not self.metrics.authenticate:
            return
        await super().prepare()
        scopes = (self._hub_auth_user_cache or {}).get("scopes") or ()
        if not self.me.admin and METRICS_SCOPE not in scopes:
            raise NotAllowed(f"Metrics are for admins, and tokens with the scope {METRICS_SCOPE}.")

    @property
    def metrics(self) -> Metrics:
        """The service's numbers."""
        return self.settings["metrics"]

    async def get(self) -> None:
        """Answer with them."""
        text = await self.metrics.read()
        self.set_header("Content-Type", self.metrics.content_type)
        self.set_header("Cache-Control", "no-store")
        self.finish(text)
