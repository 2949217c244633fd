"""An archive of launches, its launches, and providers that know which repositories are public."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from jupyterhub_binder.admin.audit import Audit
from jupyterhub_binder.errors import UpstreamUnavailable
from jupyterhub_binder.maintenance.archive.service import Archive
from jupyterhub_binder.maintenance.archive.storage import Folder, Storage
from jupyterhub_binder.model.launch_events import LaunchEvent, LaunchOrigin
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.store import Store
from jupyterhub_binder.store.tables import launch_events
from jupyterhub_binder.utils.names import new_id
from jupyterhub_binder.utils.time import utc_now

DAY = timedelta(days=1)
MIDNIGHT = utc_now().replace(hour=0, minute=0, second=0, microsecond=0)


def event(time: datetime, repo: str = "org/repo", **more: Any) -> LaunchEvent:
    url = f"https://github.com/{repo}"
    fields = {"provider": "gh", "spec": f"{repo}/main", "clone_url": url, "repo_url": url} | more
    origin = LaunchOrigin("hub.example.org", "same-origin")
    return LaunchEvent(
        launch_id=new_id(), time=time, resolved_ref="0" * 40, origin=origin, **fields
    )


class KnownVisibility(Providers):
    """Providers that know which repositories are public."""

    def __init__(self) -> None:
        super().__init__(git=Git())
        self.private: set[str] = set()
        self.silent = False
        self.asked: list[str] = []

    async def fetch_is_public(self, spec: Any, *, clone_url: str, repo_url: str) -> bool:
        self.asked.append(spec.repo)
        if self.silent:
            raise UpstreamUnavailable("The host does not answer.")
        return spec.repo not in self.private


class World:
    """An archive over a store, in a folder or another storage."""

    def __init__(self, store: Store, folder: Path, storage: Storage | None = None) -> None:
        self.store = store
        self.folder = folder
        self.providers = KnownVisibility()
        self.audit = Audit(store=store)
        self.storage = storage or Folder(folder)
        self.archive = self.new_archive()

    def new_archive(self, folder: Path | None = None) -> Archive:
        archive = Archive(
            store=self.store,
            providers=self.providers,
            audit=self.audit,
            url=str(folder or self.folder),
            margin_seconds=0,
        )
        archive._storage = Folder(folder) if folder else self.storage
        return archive

    async def keep(self, *events: LaunchEvent) -> None:
        rows = [
            {
                "origin": each.origin.host,
                "request_origin": each.origin.request_origin,
                **{
                    name: getattr(each, name)
                    for name in launch_events.c.keys()  # noqa: SIM118
                    if name not in ("origin", "request_origin")
                },
            }
            for each in events
        ]
        await self.store._database.run(
            lambda connection: connection.execute(launch_events.insert(), rows)
        )

    async def count(self) -> int:
        query = sa.select(sa.func.count()).select_from(launch_events)
        return await self.store._database.run(lambda connection: connection.scalar(query)) or 0

    def specs(self, day: datetime) -> list[str]:
        file = self.storage.read(f"events-{day.date()}.jsonl")
        assert file is not None
        return [json.loads(line)["spec"] for line in file.splitlines()]

    def counts(self) -> dict[str, str]:
        index = self.storage.read("index.jsonl")
        assert index is not None
        return {each["date"]: each["count"] for each in map(json.loads, index.splitlines())}
