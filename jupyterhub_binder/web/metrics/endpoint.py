"""`/metrics` for Prometheus: counters, and gauges read on request.

Each service has its own registry. Labels have few, known values.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from jupyterhub_binder._version import __version__
from jupyterhub_binder.backends.base import HostState, HostStatus
from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.utils.time import utc_now
from jupyterhub_binder.web.api.operation import operation
from jupyterhub_binder.web.handlers import APIHandler
from jupyterhub_binder.web.metrics.counters import (
    PREFIX,
    AnswerCounters,
    BuildCounters,
    DatabaseCounters,
    LaunchCounters,
    MessageCounters,
)

if TYPE_CHECKING:
    from jupyterhub_binder.web.services import Services

METRICS_SCOPE = "read:metrics"
"""The hub's scope for its own metrics: one token reads both."""


class Metrics:
    """The metrics of one service."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, services: Services, *, state_dir: str, authenticate: bool = True) -> None:
        self.authenticate = authenticate
        """Whether a scope is needed."""
        self._services = services
        self._state_dir = state_dir
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        about = Info(PREFIX, "What runs", registry=registry)
        about.info({"version": __version__, "backend": services.backend.name})
        builds = BuildCounters(registry, backend=services.backend.name)
        services.builds.answered.connect(builds.count_request)
        services.builds.ended.connect(builds.count_end)
        services.launches.ended.connect(LaunchCounters(registry).count_end)
        services.store.transaction_ended.connect(DatabaseCounters(registry).count)
        self.answers = AnswerCounters(registry)
        self.messages = MessageCounters(registry)
        self._parts: Mapping[str, str | None] = {}
        registry.register(_StatusCollector(self))

    async def read(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        self._parts = await self._services.health()
        # Not in a thread: the values belong to the event loop, and reading is fast.
        return generate_latest(self._registry)

    def gauges(self) -> Iterator[Metric]:
        """Yield the current values."""
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
        drained = services.drain.state is not None
        yield _gauge("draining", "Whether an admin has paused builds", drained)
        yield from self._of_store()
        up = GaugeMetricFamily(f"{PREFIX}_part_up", "Whether a part works", labels=["part"])
        for part, wrong in self._parts.items():
            up.add_metric([part], wrong is None)
        yield up
        yield from _of_hosts(services.backend.statuses())

    def _of_store(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            f"{PREFIX}_database_reconnections",
            "Lost connections to the database that were taken up again",
            value=self._services.store.reconnections,
        )
        free = shutil.disk_usage(self._state_dir).free
        yield _gauge("disk_free_bytes", "Free bytes where the service keeps its state", free)


class _StatusCollector(Collector):
    """Adds `Metrics.gauges` to the registry."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registration reads no values."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        return self._metrics.gauges()


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", help_, value=value)


def _of_hosts(hosts: Iterable[HostStatus]) -> Iterator[Metric]:
    """Yield each BinderHub's state and counts."""
    up = GaugeMetricFamily(f"{PREFIX}_host_up", "Whether it is sent builds", labels=["host"])
    running = GaugeMetricFamily(
        f"{PREFIX}_host_builds_running", "Builds that it is making", labels=["host"]
    )
    builds = CounterMetricFamily(
        f"{PREFIX}_host_builds",
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
    """For admins and tokens with the metrics scope."""

    async def prepare(self) -> None:
        """Check the scope, if one is needed."""
        if not self.metrics.authenticate:
            return
        await super().prepare()
        scopes = (self._hub_auth_user_cache or {}).get("scopes") or ()
        if not self.me.admin and METRICS_SCOPE not in scopes:
            raise NotAllowed(
                "Metrics are available only to administrators and to tokens with the scope "
                "%(metrics_scope)s.",
                metrics_scope=METRICS_SCOPE,
            )

    @property
    def metrics(self) -> Metrics:
        """The service's metrics."""
        return self.settings["metrics"]

    @operation("metrics", media="text/plain")
    async def get(self) -> None:
        """Get the metrics for Prometheus.

        For admins, and tokens with the hub's scope `read:metrics`; for everyone if
        `JupyterHubBinder.authenticate_metrics` is False.
        """
        text = await self.metrics.read()
        self.set_header("Content-Type", self.metrics.content_type)
        self.set_header("Cache-Control", "no-store")
        self.finish(text)
