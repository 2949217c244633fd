"""Files in Git LFS: fetched from the repository's own host, checked, or said to be missing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_binder.errors import FetchFailed
from jupyterhub_binder.model import Spec
from jupyterhub_binder.repositories.fetcher import Fetcher
from jupyterhub_binder.repositories.git import Git
from jupyterhub_binder.repositories.lfs import _headers
from jupyterhub_binder.repositories.providers.registry import Providers
from tests.kit.git_server import GitServer

DATA = b"a,b\n" * 1000
ATTRIBUTES = "*.csv filter=lfs diff=lfs merge=lfs -text\n"


def pointer(data: bytes = DATA) -> str:
    oid = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n"


class LfsHost:
    """Answers what git-lfs asks of a git server."""

    def __init__(self, server: GitServer) -> None:
        self.server = server
        self.sends = DATA
        self.error: dict[str, Any] | None = None
        self.href = f"{server.url}/objects/one"
        self.asked: list[dict[str, Any]] = []

    def answer(self, request: BaseHTTPRequestHandler) -> bool:
        if request.path.endswith(".git/info/lfs/objects/batch"):
            length = int(request.headers["Content-Length"])
            self.asked.append(json.loads(request.rfile.read(length)))
            found = [
                {**each, "error": self.error}
                if self.error
                else {**each, "actions": {"download": {"href": self.href}}}
                for each in self.asked[-1]["objects"]
            ]
            self.reply(request, json.dumps({"objects": found}).encode())
            return True
        if request.path == "/objects/one":
            self.reply(request, self.sends)
            return True
        return False

    @staticmethod
    def reply(request: BaseHTTPRequestHandler, body: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer.running(tmp_path / "git") as server:
        yield server


@pytest.fixture
def host(server: GitServer) -> LfsHost:
    host = LfsHost(server)
    server.hook = host.answer
    return host


@pytest.fixture
async def providers() -> Any:
    providers = Providers(git=Git(protocols=["https", "http"], private_hosts=["127.0.0.1"]))
    yield providers
    await providers.downloads.close()


async def fetch(providers: Providers, server: GitServer, into: Path, **options: Any) -> Fetcher:
    repo = server.make_repo(
        "org/data",
        {
            ".gitattributes": ATTRIBUTES,
            ".lfsconfig": "[lfs]\n\turl = http://127.0.0.1:9/\n",
            "big.csv": pointer(),
            "small.csv": "no pointer\n",
            "pointer.txt": pointer(),
        },
    )
    fetcher = Fetcher(git=providers.git, archives=providers, lfs=True, free_bytes=0, **options)
    resolved = await providers.resolve(Spec("git", repo.url, "HEAD"))
    await fetcher.checkout(resolved, into)
    assert fetcher.read_recipe(into, resolved).lfs == ()
    return fetcher


async def test_files_in_lfs_take_the_place_of_their_pointers(
    providers: Providers, server: GitServer, host: LfsHost, tmp_path: Path
) -> None:
    into = tmp_path / "co"
    await fetch(providers, server, into)
    assert (into / "big.csv").read_bytes() == DATA
    assert (into / "small.csv").read_text() == "no pointer\n"
    assert (into / "pointer.txt").read_text() == pointer()
    assert [len(each["objects"]) for each in host.asked] == [1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sends": b"x" * len(DATA)}, "checksum"),
        ({"sends": DATA * 2}, "big.csv"),
        ({"error": {"code": 404, "message": "no such object"}}, "no such object"),
        ({"href": "http://10.0.0.1/secret"}, "not on the public internet"),
        ({"href": "file:///etc/passwd"}, "invalid address"),
        ({"href": "http://["}, "address is invalid"),
    ],
)
async def test_a_file_that_can_not_be_fetched_ends_the_fetch_with_its_name(
    providers: Providers, server: GitServer, host: LfsHost, tmp_path: Path, change: Any, why: str
) -> None:
    for name, value in change.items():
        setattr(host, name, value)
    with pytest.raises(FetchFailed, match=r"big.csv can't be fetched from Git LFS") as failed:
        await fetch(providers, server, tmp_path / "co")
    assert why in failed.value.message
    assert not (tmp_path / "co").exists()


async def test_files_in_lfs_count_against_the_size_before_they_are_asked_for(
    providers: Providers, server: GitServer, host: LfsHost, tmp_path: Path
) -> None:
    fetcher = Fetcher(git=providers.git, archives=providers, lfs=True, free_bytes=0)
    huge = pointer().replace(f"size {len(DATA)}", f"size {2**40}")
    repo = server.make_repo("org/other", {".gitattributes": ATTRIBUTES, "big.csv": huge})
    resolved = await providers.resolve(Spec("git", repo.url, "HEAD"))
    with pytest.raises(FetchFailed, match="is larger than"):
        await fetcher.checkout(resolved, tmp_path / "co")
    assert host.asked == []


async def test_a_peek_fetches_no_files_in_lfs_of_its_submodules(
    providers: Providers, server: GitServer, host: LfsHost
) -> None:
    files = {"requirements.txt": "cowsay\n", ".gitattributes": ATTRIBUTES, "big.csv": pointer()}
    inner = server.make_repo("org/inner", files)
    outer = server.make_repo("org/outer", {"requirements.txt": "-r lib/requirements.txt\n"})
    outer.add_submodule("lib", inner.url, inner.head)
    fetcher = Fetcher(
        git=providers.git, archives=providers, lfs=True, submodules=True, free_bytes=0
    )
    resolved = await providers.resolve(Spec("git", outer.url, "HEAD"))
    async with fetcher.peek(resolved) as peek:
        assert fetcher.read_recipe(peek.path, resolved).packages == ("cowsay",)
    assert host.asked == []


def test_a_host_can_not_set_the_headers_of_a_connection() -> None:
    given = {"Authorization": "Basic x", "Content-Length": "99", "host": "other", "TE": "trailers"}
    assert _headers(given) == {"Authorization": "Basic x"}
