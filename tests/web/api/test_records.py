"""A published record through the whole service: understood, shown, built, and said to be what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from jupyterhub_binder.app import JupyterHubBinder
from jupyterhub_binder.backends.fake import FakeBackend
from tests.kit.api_client import Api
from tests.kit.archive_server import ArchiveServer, archives
from tests.kit.service import service_config, wait_for_build

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOI = "10.5281/zenodo.123"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[ArchiveServer]:
    async with archives() as server:
        files = {"requirements.txt": b"numpy==2.3.1\n", "a.ipynb": b"{}"}
        server.add_zenodo("123", files, concept="100", title="Rain in Ulm")
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(hub, server: ArchiveServer, tmp_path_factory) -> AsyncIterator[JupyterHubBinder]:
    config = service_config(hub, tmp_path_factory.mktemp("state"))
    config.merge(server.config())
    app = JupyterHubBinder(config=config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeBackend, "needs_checkout", True)
        await app.start_service()
        yield app
        await app.stop_service()


async def test_a_doi_is_built_as_any_repository(ada: Api) -> None:
    resolved = await ada("POST", "api/v1/resolve", {"url": f"https://doi.org/{DOI}"})
    assert resolved.status == 200, resolved.text
    assert resolved.json["resolved_ref"] == "123"
    assert resolved.json["ref_kind"] == "version"
    body = {"provider": "zenodo", "spec": "10.5281/zenodo.100"}
    made = await ada("POST", "api/v1/environments", body)
    assert made.status == 201, made.text
    assert made.json["name"] == "rain-in-ulm"
    build = await wait_for_build(ada, made.json["latest"]["id"])
    assert build["state"] == "built"
    log = await ada("GET", f"api/v1/builds/{build['id']}/log")
    assert "Fetched 123 “Rain in Ulm”" in log.text
    assert "Fetching requirements.txt (13 bytes), file 1 of 2" in log.text


async def test_the_page_says_which_version_and_asks_for_no_branch(
    ada: Api, session: aiohttp.ClientSession, service_url: str
) -> None:
    headers = {"Authorization": "token ada-token"}
    async with session.get(f"{service_url}new?url={DOI}", headers=headers) as response:
        page = await response.text()
    assert "found on Zenodo" in page
    assert "Rain in Ulm" in page
    assert ">123</code>" in page
    assert "HEAD</code>" not in page
    assert "data-change" not in page


async def test_a_branch_of_a_record_is_refused_in_words(ada: Api) -> None:
    answer = await ada("POST", "api/v1/resolve", {"url": DOI, "ref": "main"})
    assert answer.status == 400
    assert "no branches or tags" in answer.json["error"]["message"]
