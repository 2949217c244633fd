"""A service that the hub starts itself, from nothing but `configure`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest
from jupyterhub.utils import random_port

from jupyterhub_binder.utils.names import new_id
from tests.kit.real_hub import Person, hub_config, start_hub, stop_hub


async def test_the_hub_starts_the_service_with_what_configure_was_given(
    homes: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    port = random_port()
    c = hub_config(
        homes,
        root,
        port=port,
        backend="fake",
        state_dir=tmp_path / "state",
        service_config={"Environments": {"max_per_user": 7}},
        admin_users=["boss"],
    )
    hub = await start_hub(c)
    try:
        service = f"http://127.0.0.1:{port}/services/binder"
        async with aiohttp.ClientSession() as session:
            await answers(session, f"{service}/health")
            ada, boss = Person(hub, f"ada-{new_id()}"), Person(hub, "boss")
            info = await info_of(session, service, ada)
            assert info["backend"]["name"] == "fake"
            assert info["limits"]["environments"]["limit"] == 7
            assert info["permissions"] == {"build": True, "admin": False}
            assert info["user"]["name"] == ada.name
            assert info["hub"]["named_servers"]
            assert (await info_of(session, service, boss))["permissions"]["admin"]
        assert (tmp_path / "state" / "binder.sqlite").exists()
        assert os.stat(tmp_path / "state").st_mode & 0o077 == 0  # noqa: PTH116
    finally:
        await stop_hub(hub)


async def answers(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def info_of(session: aiohttp.ClientSession, service: str, person: Person) -> dict:
    headers = {"Authorization": f"Bearer {person.token}"}
    async with session.get(f"{service}/api/v1/", headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()
