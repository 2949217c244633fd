"""What the service counts, for Prometheus: the numbers at ``/metrics``.

Each service has a registry of its own. What happens is counted as it happens, by `meters`; what
stands is read here when it is asked for. Labels are few and known beforehand: parts, and the
names of configured BinderHubs.
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
from jupyterhub_binder.clock import utc_now
from jupyterhub_binder.errors import NotAllowed
from jupyterhub_binder.web.base import APIHandler
from jupyterhub_binder.web.meters import (
    PREFIX,
    AnswerMeter,
    BuildMeter,
    DatabaseMeter,
    LaunchMeter,
)

if TYPE_CHECKING:
    from jupyterhub_binder.web.context import Services

METRICS_SCOPE = "read:metrics"
"""The hub's own scope for its metrics: one token reads both."""


class Metrics:
    """The numbers of one service."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, services: Services, *, state_dir: str, authenticate: bool = True) -> None:
        self.authenticate = authenticate
        """Whether only somebody who may is answered."""
        self._services = services
        self._state_dir = state_dir
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        about = Info(PREFIX, "What runs", registry=registry)
        about.info({"version": __version__, "backend": services.backend.name})
        builds = BuildMeter(registry, backend=services.backend.name)
        services.builds.when_met = builds.count_wish
        services.builds.when_ended = builds.count_end
        services.launches.when_ended = LaunchMeter(registry).count_end
        services.store.watch(when_done=DatabaseMeter(registry).count)
        self.answers = AnswerMeter(registry)
        self._parts: Mapping[str, str | None] = {}
        registry.register(_Standing(self))

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
    return GaugeMetricFamily(f"{PREFIX}_{name}", help_, value=value)


def _of_hosts(hosts: Iterable[HostStatus]) -> Iterator[Metric]:
    """Yield how each BinderHub stands, and what it did since the service started."""
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
