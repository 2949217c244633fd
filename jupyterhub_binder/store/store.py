"""The store: one async method per transaction."""

from __future__ import annotations

from typing import Self

from jupyterhub_binder.store.admin import AdminQueries
from jupyterhub_binder.store.alerts import AlertQueries
from jupyterhub_binder.store.build_lists import BuildListQueries
from jupyterhub_binder.store.builds import BuildQueries
from jupyterhub_binder.store.changes import ChangeQueries
from jupyterhub_binder.store.commit_reports import CommitReportQueries
from jupyterhub_binder.store.database import Database
from jupyterhub_binder.store.deliveries import DeliveryQueries
from jupyterhub_binder.store.detections import DetectionQueries
from jupyterhub_binder.store.environments import EnvironmentQueries
from jupyterhub_binder.store.failures import FailureQueries
from jupyterhub_binder.store.featured import FeaturedQueries
from jupyterhub_binder.store.hooks import HookQueries
from jupyterhub_binder.store.images import ImageQueries
from jupyterhub_binder.store.inventories import InventoryQueries
from jupyterhub_binder.store.launch_events import LaunchEventQueries
from jupyterhub_binder.store.launches import LaunchQueries
from jupyterhub_binder.store.overview import OverviewQueries
from jupyterhub_binder.store.preferences import PreferenceQueries
from jupyterhub_binder.store.retention import RetentionQueries
from jupyterhub_binder.store.shares import ShareQueries
from jupyterhub_binder.store.transfers import TransferQueries
from jupyterhub_binder.store.upstreams import UpstreamQueries
from jupyterhub_binder.store.usage import UsageQueries
from jupyterhub_binder.utils.signal import Signal


class Store(
    EnvironmentQueries,
    ShareQueries,
    FeaturedQueries,
    TransferQueries,
    BuildQueries,
    BuildListQueries,
    ChangeQueries,
    InventoryQueries,
    LaunchQueries,
    LaunchEventQueries,
    PreferenceQueries,
    ImageQueries,
    FailureQueries,
    OverviewQueries,
    AlertQueries,
    RetentionQueries,
    UpstreamQueries,
    DeliveryQueries,
    DetectionQueries,
    HookQueries,
    CommitReportQueries,
    AdminQueries,
    UsageQueries,
):
    """All stored data."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, url: str) -> Self:
        """Open ``sqlite:////path`` or ``postgresql://user@host/name``."""
        return cls(await Database.open(url))

    @property
    def transaction_ended(self) -> Signal[[float, bool]]:
        """Sent in the store's thread: seconds, whether the database failed."""
        return self._database.transaction_ended

    @property
    def ownership_lost(self) -> Signal[[]]:
        """Sent in the store's thread; this service must exit."""
        return self._database.ownership_lost

    @property
    def reconnections(self) -> int:
        """Lost connections that were reopened."""
        return self._database.reconnections

    async def close(self) -> None:
        """Finish pending work and close. Idempotent."""
        await self._database.close()
