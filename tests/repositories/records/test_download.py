"""Downloads are held in check: hosts, redirects, sizes, times; tokens go where they belong."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest

from jupyterhub_binder.errors import (
    BinderError,
    FetchFailed,
    NotAllowed,
    NotUnderstood,
    UpstreamUnavailable,
)
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.records import download
from jupyterhub_binder.repositories.records.checksum import Checksum
from jupyterhub_binder.repositories.records.download import Downloads, Site
from tests.kit.archive_server import ArchiveServer, archives, endless, hang, redirect, status
from tests.kit.certificates import make_certificate

HERE = Site(("127.0.0.1",))


@pytest.fixture
async def server() -> AsyncIterator[ArchiveServer]:
    async with archives() as server:
        server.answers["/json"] = {"a": 1}
        server.files["file"] = b"0123456789" * 1000
        yield server


@pytest.fixture
async def downloads() -> AsyncIterator[Downloads]:
    git = Git(protocols=["https", "http"], private_hosts=["127.0.0.1"])
    downloads = Downloads(git=git, longest_wait_seconds=2)
    yield downloads
    await downloads.close()


async def ask(downloads: Downloads, url: str, site: Site = HERE) -> object:
    return await downloads.fetch_json(url, site, what="record 1")


async def test_an_answer_is_read_where_it_holds_nobody_up(server, downloads, monkeypatch):
    threads = []

    def record(value: dict) -> dict:
        threads.append(threading.get_ident())
        return value

    monkeypatch.setattr(download, "_as_it_is", record)
    assert await ask(downloads, f"{server.url}/json") == {"a": 1}
    assert threads
    assert threading.get_ident() not in threads


# --- Which hosts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/json",
        "http://localhost:{port}/json",
        "http://[::1]:{port}/json",
        "http://[::ffff:127.0.0.1]:{port}/json",
        "http://0.0.0.0:{port}/json",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433:{port}/json",
        "http://127.1:{port}/json",
    ],
)
async def test_no_private_address_is_asked(server, url):
    port = server.url.rpartition(":")[2]
    downloads = Downloads(git=Git(protocols=["https", "http"]))
    with pytest.raises((NotAllowed, NotUnderstood)):
        await ask(downloads, url.format(port=port), Site())
    assert server.asked == []
    await downloads.close()


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/x",
        "https://evil.example.org/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//evil.example.org/x",
        "http://user:secret@127.0.0.1/x",
        "http://127.0.0.1:0/x",
        "http://[/x",
    ],
)
async def test_a_redirect_leads_to_no_other_host(server, downloads, to):
    server.faults["/json"].append(redirect(to))
    with pytest.raises((NotAllowed, NotUnderstood)):
        await ask(downloads, f"{server.url}/json")
    assert server.paths() == ["/json"]


async def test_a_redirect_to_a_private_address_is_refused_where_every_host_may_be_asked(
    server, downloads
):
    server.faults["/json"].append(redirect("http://localhost/json"))
    with pytest.raises(NotAllowed, match="not on the public internet"):
        await ask(downloads, f"{server.url}/json", Site())


async def test_a_name_is_looked_up_once_and_what_was_checked_is_asked(
    server, downloads, monkeypatch
):
    port = server.url.rpartition(":")[2]
    downloads.git.private_hosts = ["rebinding.example.org"]
    asked: list[str] = []

    async def addresses(remote):
        asked.append(remote.host)
        return ["127.0.0.1"]

    monkeypatch.setattr("jupyterhub_binder.repositories.git._fetch_addresses", addresses)
    url = f"http://rebinding.example.org:{port}/json"
    assert await ask(downloads, url, Site(("*.example.org",))) == {"a": 1}
    assert asked == ["rebinding.example.org"]
    downloads.git.private_hosts = []
    await downloads.close()
    with pytest.raises(NotAllowed):
        await ask(downloads, url, Site(("*.example.org",)))


async def test_redirects_that_never_end_are_given_up(server, downloads):
    server.answers["/a"], server.answers["/b"] = "->/b", "->/a"
    with pytest.raises(UpstreamUnavailable, match="redirects too many times"):
        await ask(downloads, f"{server.url}/a")
    assert len(server.asked) == 9


async def test_http_becomes_https_unless_it_is_allowed():
    downloads = Downloads(git=Git())
    url = downloads.check("http://www.hydroshare.org/resource/1", Site())
    assert str(url) == "https://www.hydroshare.org/resource/1"


# --- Patience -------------------------------------------------------------------------------------


async def test_a_busy_host_is_asked_again_when_it_says(server, downloads):
    server.faults["/json"] += [status(429, Retry_After="1"), status(503, Retry_After="0")]
    began = time.monotonic()
    assert await ask(downloads, f"{server.url}/json") == {"a": 1}
    assert time.monotonic() - began >= 1
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("3600", "in 60 minutes"),
        (formatdate(time.time() + 100_000, usegmt=True), r"in [\d,]+ minutes"),
    ],
    ids=["seconds", "date"],
)
async def test_a_host_that_wants_hours_is_not_waited_for(server, downloads, header, words):
    server.faults["/json"].append(status(429, Retry_After=header))
    with pytest.raises(
        UpstreamUnavailable, match=f"limits the number of requests.*{words}"
    ) as caught:
        await ask(downloads, f"{server.url}/json")
    assert caught.value.detail["retry_after_seconds"] > 3000
    assert len(server.asked) == 1


async def test_a_host_that_stays_busy_is_given_up(server, downloads):
    server.faults["/json"] += [status(429, Retry_After="0")] * 5
    with pytest.raises(UpstreamUnavailable, match="limits the number of requests"):
        await ask(downloads, f"{server.url}/json")
    assert len(server.asked) == 3


async def test_a_slow_host_is_not_waited_for(server, downloads):
    downloads.answer_seconds = 0.2
    server.faults["/json"] += [hang(), hang(b"{")]
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable, match=r"did not answer within 0\.2 seconds"):
            await ask(downloads, f"{server.url}/json")


async def test_a_file_of_which_nothing_more_comes_is_given_up(server, downloads, tmp_path):
    downloads.silence_seconds = 0.2
    server.faults["/storage/file"].append(hang(b"0123"))
    with pytest.raises(UpstreamUnavailable, match="stopped sending file"):
        await downloads.fetch_file(
            f"{server.url}/storage/file", HERE, tmp_path / "f", what="file", max_bytes=10**6
        )


async def test_a_host_that_is_not_there_is_said_not_to_answer(downloads):
    with pytest.raises(UpstreamUnavailable, match="did not answer"):
        await ask(downloads, "http://127.0.0.1:1/json")


@pytest.mark.parametrize("number", [500, 502, 418])
async def test_an_error_of_a_host_is_not_the_repositorys(server, downloads, number):
    server.faults["/json"].append(status(number))
    with pytest.raises(UpstreamUnavailable, match=str(number)):
        await ask(downloads, f"{server.url}/json")


# --- How much -------------------------------------------------------------------------------------


async def test_an_answer_without_an_end_is_cut_off(server, downloads):
    downloads.max_answer_bytes = 100_000
    server.faults["/json"].append(endless())
    with pytest.raises(UpstreamUnavailable, match="larger than"):
        await ask(downloads, f"{server.url}/json")


async def test_a_file_without_an_end_is_cut_off(server, downloads, tmp_path):
    server.faults["/storage/file"].append(endless())
    with pytest.raises(FetchFailed, match="larger than") as caught:
        await downloads.fetch_file(
            f"{server.url}/storage/file", HERE, tmp_path / "f", what="file", max_bytes=10**6
        )
    assert caught.value.error_code == "repository_too_large"
    assert (tmp_path / "f").stat().st_size <= 10**6


async def test_a_file_of_another_size_than_listed_is_refused(server, downloads, tmp_path):
    with pytest.raises(FetchFailed, match="has 10000 bytes, but the archive says 9"):
        await downloads.fetch_file(
            f"{server.url}/storage/file",
            HERE,
            tmp_path / "f",
            what="file",
            max_bytes=10**6,
            size_bytes=9,
        )


@pytest.mark.parametrize("body", ["", "{", "[" * 100_000, "NaN and more"])
async def test_an_answer_that_is_no_json_is_an_error_in_words(server, downloads, body):
    server.answers["/json"] = body
    with pytest.raises(UpstreamUnavailable, match="unexpected answer"):
        await ask(downloads, f"{server.url}/json")


async def test_only_so_many_requests_are_under_way_at_once(server):
    git = Git(protocols=["http"], private_hosts=["127.0.0.1"])
    downloads = Downloads(git=git, concurrency=2, answer_seconds=30)
    gate = asyncio.Event()
    most, now = 0, 0

    async def wait(_: object) -> object:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await gate.wait()
        now -= 1
        return await status(404)(_)  # type: ignore[arg-type]

    server.faults["/json"] += [wait] * 6
    asking = [asyncio.create_task(ask(downloads, f"{server.url}/json")) for _ in range(6)]
    while len(server.asked) < 2:
        await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(answer, BinderError) for answer in answers)
    assert most == 2
    await downloads.close()


async def test_files_that_come_slowly_keep_nobody_from_asking(server, tmp_path):
    downloads = Downloads(
        git=Git(protocols=["http"], private_hosts=["127.0.0.1"]), concurrency=1, answer_seconds=30
    )
    begun, gate = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> object:
        begun.set()
        await gate.wait()
        return await status(404)(_)  # type: ignore[arg-type]

    server.faults["/slow"].append(wait)
    fetching = asyncio.create_task(
        downloads.fetch_file(
            f"{server.url}/slow", Site(), tmp_path / "slow", what="slow", max_bytes=100
        )
    )
    await begun.wait()
    async with asyncio.timeout(10):
        with pytest.raises(BinderError):
            await ask(downloads, f"{server.url}/nothing")
    gate.set()
    with pytest.raises(BinderError):
        await fetching
    await downloads.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("md5:" + "a" * 32, Checksum("md5", "a" * 32)),
        ("A" * 32, Checksum("md5", "a" * 32)),
        ("SHA-1:" + "b" * 40, Checksum("sha1", "b" * 40)),
        ("c" * 64, Checksum("sha256", "c" * 64)),
        ("sha512:" + "d" * 128, Checksum("sha512", "d" * 128)),
        ("sha256:" + "d" * 32, None),
        ("", None),
        ("hello", None),
        ("UNF:6:abc==", None),
    ],
)
def test_checksums_are_read(text: str, expected: Checksum | None):
    assert Checksum.parse(text) == expected


# --- Tokens ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("tls")
    return folder / "cert.pem", make_certificate(folder)


@pytest.fixture
async def safe(certificate: tuple[Path, ssl.SSLContext]) -> AsyncIterator[ArchiveServer]:
    _, context = certificate
    async with archives(context) as server:
        server.answers["/json"] = {"a": 1}
        yield server


async def test_a_token_goes_to_its_host_by_https_and_nowhere_else(safe, server, certificate):
    git = Git(
        protocols=["https", "http"],
        private_hosts=["127.0.0.1", "localhost"],
        ca_file=str(certificate[0]),
    )
    downloads = Downloads(git=git)
    secret = {"Authorization": "Bearer s3cret"}
    site = Site((), {safe.host: secret, server.host: secret})
    assert "s3cret" not in repr(site)
    await ask(downloads, f"{safe.url}/json", site)
    assert safe.asked[-1][1]["Authorization"] == "Bearer s3cret"
    await ask(downloads, f"{server.url}/json", site)  # its own host, but by http
    assert "Authorization" not in server.asked[-1][1]
    other = safe.url.replace("127.0.0.1", "localhost")
    safe.faults["/json"].append(redirect(f"{other}/json"))
    await ask(downloads, f"{safe.url}/json", site)
    assert "Authorization" in safe.asked[-2][1]
    assert "Authorization" not in safe.asked[-1][1]  # another name is another host
    await downloads.close()


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(safe):
    downloads = Downloads(git=Git(private_hosts=["127.0.0.1"]))
    with pytest.raises(UpstreamUnavailable, match=r"certificate of .* is not trusted"):
        await ask(downloads, f"{safe.url}/json")
    await downloads.close()


def test_a_token_of_git_is_in_the_environment_of_its_host_alone():
    git = Git(protocols=["https", "http"])
    git.add_credential("git.example.org", "user", "s3cret")
    held = git.environment("https://git.example.org/a/b")
    assert "http.https://git.example.org/.extraHeader" in held.values()
    assert [text for text in held.values() if text.startswith("Authorization: Basic ")]
    for url in (
        "",
        "http://git.example.org/a/b",
        "https://git.example.org:8443/a/b",
        "https://git.example.org.evil.example/a",
        "https://other.example.org/a/b",
    ):
        assert not [text for text in git.environment(url).values() if "Authorization" in text]


async def test_git_sends_a_token_to_its_host(safe, certificate):
    git = Git(private_hosts=["127.0.0.1"], ca_file=str(certificate[0]))
    git.add_credential(safe.host, "user", "s3cret")
    with pytest.raises(BinderError) as caught:
        await git.ls_remote(f"{safe.url}/org/name")
    assert safe.asked, caught.value
    assert safe.asked[-1][1]["Authorization"] == "Basic dXNlcjpzM2NyZXQ="
    assert "s3cret" not in caught.value.message
