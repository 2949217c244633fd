"""Commit statuses: what each kind of host is sent, and where a token never goes.

Paths, headers and bodies are written down from the documentation of the hosts' APIs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from jupyterhub_binder.errors import BinderError, Conflict, NotAllowed, UpstreamUnavailable
from jupyterhub_binder.model.prebuild import CommitState, HookHost
from jupyterhub_binder.repositories.commit_statuses import (
    CommitStatus,
    origin_of,
    request_of,
    send_status,
)
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.records.download import Downloads
from tests.kit.status_host import TOKEN, StatusHost, serve_statuses

SHA = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c"
STATUS = CommitStatus(
    SHA,
    CommitState.FAILURE,
    "jupyterhub-binder/course",
    "The package index has no nump.",
    "https://hub.example.org/services/binder/builds/b3n8w5yd2h",
)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[StatusHost]:
    async with serve_statuses(tmp_path) as host:
        yield host


@pytest.fixture
async def downloads(host: StatusHost) -> AsyncIterator[Downloads]:
    git = Git(private_hosts=["127.0.0.1"], ca_file=str(host.certificate))
    downloads = Downloads(git=git)
    yield downloads
    await downloads.close()


async def send(downloads: Downloads, host: StatusHost, **changes: Any) -> None:
    given: dict[str, Any] = {"kind": HookHost.GITHUB, "repo_url": f"{host.url}/org/repo"}
    given |= {"status": STATUS, "token": TOKEN, **changes}
    await send_status(downloads.git, downloads, **given)


async def test_github_is_sent_what_it_documents(downloads: Downloads, host: StatusHost) -> None:
    await send(downloads, host)
    (asked,) = host.asked
    assert (asked.method, asked.path) == ("POST", f"/api/v3/repos/org/repo/statuses/{SHA}")
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["Accept"] == "application/vnd.github+json"
    assert asked.headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.body == {
        "state": "failure",
        "context": "jupyterhub-binder/course",
        "description": "The package index has no nump.",
        "target_url": "https://hub.example.org/services/binder/builds/b3n8w5yd2h",
    }


async def test_gitlab_is_sent_what_it_documents(downloads: Downloads, host: StatusHost) -> None:
    await send(
        downloads, host, kind=HookHost.GITLAB, repo_url=f"{host.url}/group/sub%20group/re.po.git"
    )
    (asked,) = host.asked
    where = "/api/v4/projects/group%2Fsub%20group%2Fre.po/statuses/"
    assert (asked.method, asked.path) == ("POST", where + SHA)
    assert asked.headers["PRIVATE-TOKEN"] == TOKEN
    assert "Authorization" not in asked.headers
    assert asked.body == {
        "state": "failed",
        "name": "jupyterhub-binder/course",
        "description": "The package index has no nump.",
        "target_url": "https://hub.example.org/services/binder/builds/b3n8w5yd2h",
    }


async def test_gitea_is_sent_what_it_documents(downloads: Downloads, host: StatusHost) -> None:
    await send(downloads, host, kind=HookHost.GITEA)
    await send(downloads, host, kind=HookHost.GITEA, repo_url=f"{host.url}/git/org/repo")
    first, second = host.asked
    assert (first.method, first.path) == ("POST", f"/api/v1/repos/org/repo/statuses/{SHA}")
    assert second.path == f"/git/api/v1/repos/org/repo/statuses/{SHA}"
    assert first.headers["Authorization"] == f"token {TOKEN}"
    assert first.body["state"] == "failure"
    assert first.body["context"] == "jupyterhub-binder/course"


@pytest.mark.parametrize(
    ("state", "github", "gitlab"),
    [
        (CommitState.PENDING, "pending", "pending"),
        (CommitState.SUCCESS, "success", "success"),
        (CommitState.FAILURE, "failure", "failed"),
        (CommitState.ERROR, "error", "canceled"),
    ],
)
def test_each_state_has_the_hosts_own_word(state: CommitState, github: str, gitlab: str) -> None:
    status = replace(STATUS, state=state)
    words = [
        request_of(kind, "https://example.org/org/repo", status, TOKEN).body["state"]
        for kind in (HookHost.GITHUB, HookHost.GITEA, HookHost.GITLAB)
    ]
    assert words == [github, github, gitlab]


@pytest.mark.parametrize(
    ("repo_url", "address"),
    [
        ("https://github.com/org/repo", "https://api.github.com/repos/org/repo/"),
        ("https://our.ghe.com/org/repo", "https://api.our.ghe.com/repos/org/repo/"),
        ("https://github.com.evil.org/o/r", "https://github.com.evil.org/api/v3/repos/o/r/"),
        ("https://ghe.com/org/repo", "https://ghe.com/api/v3/repos/org/repo/"),
        ("https://git.example.org:8443/o/r", "https://git.example.org:8443/api/v3/repos/o/r/"),
    ],
)
def test_the_api_of_github_is_at_its_documented_address(repo_url: str, address: str) -> None:
    request = request_of(HookHost.GITHUB, repo_url, STATUS, TOKEN)
    assert request.url == f"{address}statuses/{SHA}"
    assert TOKEN not in request.url
    assert TOKEN not in repr(request)


@pytest.mark.parametrize("url", ["http://example.org/org/repo", "file:///srv/repo"])
def test_without_https_there_is_no_host_for_a_token(url: str) -> None:
    with pytest.raises(Conflict):
        origin_of(url)


async def test_a_token_is_not_sent_over_http(downloads: Downloads, host: StatusHost) -> None:
    downloads.git.protocols = ["https", "http"]
    url = host.url.replace("https:", "http:")
    with pytest.raises(NotAllowed):
        await downloads.post_secret(url, {}, {"PRIVATE-TOKEN": TOKEN}, max_bytes=100)
    with pytest.raises(Conflict):
        await send(downloads, host, repo_url=f"{url}/org/repo")
    assert host.asked == []


async def test_a_token_never_follows_a_redirect(
    downloads: Downloads, host: StatusHost, tmp_path: Path
) -> None:
    async with serve_statuses(tmp_path / "other") as other:
        for status in (301, 302, 307, 308):
            host.answer(status, headers={"Location": f"{other.url}/api/v3/repos/org/repo"})
            with pytest.raises(NotAllowed, match="the token is sent nowhere else"):
                await send(downloads, host)
        assert other.asked == []
    assert len(host.asked) == 4


async def test_a_token_goes_only_to_an_allowed_public_host_with_a_trusted_certificate(
    host: StatusHost,
) -> None:
    for git in (
        Git(ca_file=str(host.certificate)),
        Git(private_hosts=["127.0.0.1"]),
        Git(
            allowed_hosts=["github.com"],
            private_hosts=["127.0.0.1"],
            ca_file=str(host.certificate),
        ),
    ):
        downloads = Downloads(git=git)
        with pytest.raises((NotAllowed, UpstreamUnavailable)):
            await send(downloads, host)
        await downloads.close()
    assert host.asked == []


@pytest.mark.parametrize(
    ("status", "said", "why"),
    [
        (401, "", "127.0.0.1 refused the token (401). It may have expired. Give a new one."),
        (403, "", "does not let this token set commit statuses (403)"),
        (404, "", "found no such repository or commit (404)"),
        (422, "Description is too long", "refused the status (422). Description is too long"),
        (400, f"bad\x1b[31m {TOKEN}", "refused the status (400). bad [31m [secret]"),
    ],
)
async def test_a_refusal_is_final_and_says_what_to_do(
    downloads: Downloads, host: StatusHost, status: int, said: str, why: str
) -> None:
    host.answer(status, {"message": said})
    with pytest.raises(NotAllowed) as refused:
        await send(downloads, host)
    assert why in str(refused.value)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {"Retry-After": "17"}, 17.0),
        (429, {}, None),
        (403, {"Retry-After": "60"}, 60.0),
        (403, {"X-RateLimit-Remaining": "0"}, None),
        (500, {}, None),
        (503, {"Retry-After": "3"}, 3.0),
    ],
)
async def test_what_passes_by_itself_may_be_tried_again(
    downloads: Downloads, host: StatusHost, status: int, headers: dict[str, str], wait: float | None
) -> None:
    host.answer(status, headers=headers)
    with pytest.raises(UpstreamUnavailable) as later:
        await send(downloads, host)
    assert later.value.detail["retry_after_seconds"] == wait


async def test_a_state_that_gitlab_has_already_is_no_refusal(
    downloads: Downloads, host: StatusHost
) -> None:
    said = {"message": "Cannot transition status via :enqueue from :pending"}
    host.answer(400, said)
    await send(downloads, host, kind=HookHost.GITLAB)
    host.answer(400, said)
    with pytest.raises(NotAllowed):
        await send(downloads, host)


async def test_a_host_that_does_not_answer_is_left_in_time(host: StatusHost) -> None:
    git = Git(private_hosts=["127.0.0.1"], ca_file=str(host.certificate))
    downloads = Downloads(git=git, config=Config(Downloads={"answer_seconds": 0.1}))
    host.gate = asyncio.Event()
    with pytest.raises(UpstreamUnavailable, match="did not answer within"):
        await send(downloads, host)
    host.gate.set()
    await downloads.close()


async def test_the_token_is_in_no_log_and_no_error(
    downloads: Downloads, host: StatusHost, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await send(downloads, host)
    for status in (401, 422, 500):
        host.answer(status, {"message": TOKEN})
        with pytest.raises(BinderError) as refused:
            await send(downloads, host)
        assert TOKEN not in f"{refused.value!r} {refused.value.detail} {refused.value.message}"
    assert TOKEN not in caplog.text
