"""Records of the archives: resolved, listed, fetched and looked into, against a real server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from traitlets.config import Config

from jupyterhub_binder.errors import (
    BinderError,
    FetchFailed,
    NotAllowed,
    NotUnderstood,
    RepositoryNotFound,
    UnresolvableRef,
    UpstreamUnavailable,
)
from jupyterhub_binder.model import RefKind, Resolved
from jupyterhub_binder.repositories.providers.registry import Providers
from jupyterhub_binder.repositories.recipe import read_recipe
from tests.kit.archive_server import RESOURCE, ArchiveServer, archives, cut, make_zip, status

FILES = {"README.md": b"hello", "environment.yml": b"name: x\n", "data/a.csv": b"1,2\n"}


@pytest.fixture
async def server() -> AsyncIterator[ArchiveServer]:
    async with archives() as server:
        yield server


@pytest.fixture
async def providers(server: ArchiveServer) -> AsyncIterator[Providers]:
    providers = server.providers()
    yield providers
    await providers.stop()


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "checkout"


async def resolve(providers: Providers, text: str) -> Resolved:
    _, resolved = await providers.resolve_link(providers.understand(text))
    return resolved


async def checkout(
    server: ArchiveServer, providers: Providers, resolved: Resolved, into: Path, **traits: object
) -> list[str]:
    lines: list[str] = []
    await server.fetcher(providers, **traits).checkout(resolved, into, on_line=lines.append)
    return lines


def tree(folder: Path) -> dict[str, bytes]:
    """Return the files of a checkout, without git's own."""
    paths = (path for path in folder.rglob("*") if ".git" not in path.relative_to(folder).parts)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()
    }


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-C", folder, *args], check=True, capture_output=True, text=True, timeout=30
    )
    return done.stdout.strip()


# --- Each kind of archive -------------------------------------------------------------------------


async def test_zenodo_resolves_a_version_and_the_newest_of_all(server, providers):
    server.add_zenodo("123", FILES, concept="100", title="My Größe: Data (v1)")
    version = await resolve(providers, "10.5281/zenodo.123")
    newest = await resolve(providers, "https://doi.org/10.5281/zenodo.100")
    assert version.resolved_ref == newest.resolved_ref == "123"
    assert version.ref_kind is RefKind.VERSION
    assert version.clone_url == newest.clone_url  # so that both share one build
    assert version.default_name == "my-groe-data-v1"
    assert newest.repo_url == "https://doi.org/10.5281/zenodo.100"
    provider = providers["zenodo"]
    assert provider.ref_url(newest.repo_url, "123") == "https://doi.org/10.5281/zenodo.123"


async def test_zenodo_files_become_a_repository_of_one_commit(server, providers, into):
    server.add_zenodo("123", FILES, title="Data\nof two lines")
    resolved = await resolve(providers, "10.5281/zenodo.123")
    lines: list[str] = []
    commit = await server.fetcher(providers).checkout(resolved, into, on_line=lines.append)
    assert tree(into) == FILES
    assert (commit.sha, commit.subject, commit.short) == ("123", "Data of two lines", "123")
    assert commit.time.date().isoformat() == "2024-03-01"
    assert git(into, "status", "--porcelain") == ""
    assert git(into, "log", "--format=%s %an %cI") == (
        "Data of two lines jupyterhub-binder 2024-03-01T00:00:00+00:00"
    )
    assert any("data/a.csv (4 bytes), file 3 of 3" in line for line in lines)


async def test_the_same_files_make_the_same_commit(server, providers, tmp_path):
    server.add_zenodo("123", FILES)
    resolved = await resolve(providers, "10.5281/zenodo.123")
    shas = []
    for name in ("one", "two"):
        await checkout(server, providers, resolved, tmp_path / name)
        shas.append(git(tmp_path / name, "rev-parse", "HEAD"))
    assert shas[0] == shas[1]


async def test_a_lone_zip_file_is_taken_for_what_is_in_it(server, providers, into):
    packed = make_zip({f"org-name-1/{name}": data for name, data in FILES.items()})
    server.add_zenodo("5", {"org/name-1.zip": packed})
    await checkout(server, providers, await resolve(providers, "10.5281/zenodo.5"), into)
    assert tree(into) == FILES
    assert not list(into.glob("org")) + list(into.glob(".git-*"))


async def test_a_zip_file_among_others_stays_packed(server, providers, into):
    files = {"a.zip": make_zip(FILES), "b.txt": b"b"}
    server.add_zenodo("6", files)
    await checkout(server, providers, await resolve(providers, "10.5281/zenodo.6"), into)
    assert tree(into) == files


async def test_figshare_resolves_versions_and_pages_through_files(server, providers, into):
    many = {f"{n:03}.txt": str(n).encode() for n in range(203)}
    server.add_figshare("978", [FILES, many], links=("elsewhere.bin",))
    first = await resolve(providers, "10.6084/m9.figshare.978.v1")
    newest = await resolve(providers, "10.6084/m9.figshare.978")
    assert (first.resolved_ref, newest.resolved_ref) == ("978.v1", "978.v2")
    lines = await checkout(server, providers, newest, into)
    assert tree(into) == many
    assert any("Skipped 'elsewhere.bin'" in line for line in lines)


async def test_an_institutions_doi_is_figshares_by_its_page(server, providers):
    server.add_figshare("978", [FILES])
    server.dois["10.1184/r1/978.v1"] = "/articles/dataset/A_title/978/1"
    server.answers["/articles/dataset/A_title/978/1"] = "<html>"
    link = providers.understand("10.1184/r1/978.v1")
    assert link.spec.provider == "dataverse"  # nothing in it says whose it is
    link, resolved = await providers.resolve_link(link)
    assert (link.spec.provider, resolved.resolved_ref) == ("figshare", "978.v1")


async def test_hydroshare_resolves_the_time_of_change_and_pages(server, providers, into):
    server.add_hydroshare(FILES)
    resolved = await resolve(providers, f"https://doi.org/10.4211/hs.{RESOURCE}")
    assert resolved.resolved_ref == f"{RESOURCE}.v1709287200"
    await checkout(server, providers, resolved, into)
    assert tree(into) == FILES


async def test_a_resource_that_changed_is_not_passed_off_as_its_earlier_version(
    server, providers, into
):
    server.add_hydroshare(FILES)
    resolved = await resolve(providers, RESOURCE and f"hydroshare/{RESOURCE}")
    server.add_hydroshare(FILES, modified="2024-03-02T10:00:00Z")
    with pytest.raises(FetchFailed, match="has changed") as caught:
        await checkout(server, providers, resolved, into)
    assert caught.value.error_code == "record_changed"
    assert not into.exists()


async def test_dataverse_resolves_its_newest_version(server, providers, into):
    doi = "10.7910/DVN/TJCLKP"
    server.add_dataverse(doi, FILES, file_doi=f"{doi}/3YRRYJ")
    resolved = await resolve(providers, doi)
    assert resolved.resolved_ref == "77.v2.1"
    assert resolved.default_name == "a-dataset"
    by_file = await resolve(providers, f"{doi}/3YRRYJ")
    assert (by_file.resolved_ref, by_file.clone_url) == ("77.v2.1", resolved.clone_url)
    await checkout(server, providers, resolved, into)
    assert tree(into) == FILES


async def test_dataverse_brings_the_version_that_a_link_names(server, providers, into):
    doi, old = "10.7910/DVN/OLDER", {"old.txt": b"as it was"}
    server.add_dataverse(doi, FILES, earlier={"1.0": old})
    page = f"https://dv.example.org/dataset.xhtml?persistentId=doi:{doi}&version="
    resolved = await resolve(providers, f"{page}1.0")
    assert resolved.resolved_ref == "77.v1.0"
    await checkout(server, providers, resolved, into)
    assert tree(into) == old
    for newest in ("2.1", ":latest-published", ""):
        assert (await resolve(providers, f"{page}{newest}")).resolved_ref == "77.v2.1"
    with pytest.raises(UnresolvableRef, match=r"no published version 9\.0"):
        await resolve(providers, f"{page}9")
    with pytest.raises(NotUnderstood, match="only published versions"):
        providers.understand(f"{page}DRAFT")
    # What the service answers can be sent back to it.
    link = providers.understand(f"{page}1.0")
    text = providers["dataverse"].format_spec(link.spec)
    assert providers.at_ref(providers.understand(f"dataverse/{text}"), link.spec.ref) == link


async def test_dataverses_tables_come_as_uploaded_and_closed_files_are_named(
    server, providers, into
):
    doi = "10.7910/DVN/TABLES"
    server.add_dataverse(doi, {"plot.tab": b"made", "closed.csv": b"secret"})
    query = f"?persistentId=doi:{doi}&limit=1000&offset=0"
    entries = server.answers[f"/api/datasets/:persistentId/versions/2.1/files/{query}"]["data"]
    entries[0]["dataFile"] |= {"originalFileName": "plot.dta", "originalFileFormat": "stata"}
    entries[1]["restricted"] = True
    server.answers["/api/access/datafile/1?format=original"] = "->/storage/original"
    server.files["original"] = b"as uploaded"
    lines = await checkout(server, providers, await resolve(providers, doi), into)
    assert tree(into) == {"plot.dta": b"as uploaded"}
    assert any("Skipped 'closed.csv' because access to it is restricted" in line for line in lines)


async def test_ckan_resolves_a_dataset_and_its_state_at_an_activity(server, providers, into):
    url = server.add_ckan("sample", {"a.csv": b"1", "b.csv": b"2"})
    resolved = await resolve(providers, url)
    assert resolved.resolved_ref == "sample.v1709287200"
    await checkout(server, providers, resolved, into)
    assert tree(into) == {"a.csv": b"1", "b.csv": b"2"}
    then = server.add_ckan(
        "sample", {"a.csv": b"0"}, activity="0a-1b", modified="2023-01-01T00:00:00"
    )
    earlier = await resolve(providers, then)
    assert earlier.resolved_ref == "sample.v1672531200"
    await checkout(server, providers, earlier, into.with_name("earlier"))
    assert tree(into.with_name("earlier")) == {"a.csv": b"0"}


async def test_ckan_files_of_one_name_are_told_apart(server, providers, into):
    url = server.add_ckan("sample", {"x/data.csv": b"1", "y/data.csv": b"2"})
    await checkout(server, providers, await resolve(providers, url), into)
    assert tree(into) == {"data.csv": b"1", "data-00000002.csv": b"2"}


# --- Peeks ----------------------------------------------------------------------------------------


async def test_a_peek_fetches_configuration_files_alone(server, providers):
    server.add_zenodo("7", {**FILES, "binder/postBuild": b"#!/bin/sh", "big.bin": b"0" * 500_000})
    async with server.fetcher(providers).peek(await resolve(providers, "10.5281/zenodo.7")) as peek:
        assert tree(peek.path).keys() == {"environment.yml", "binder/postBuild"}
        assert peek.commit.sha == "7"
    assert not [path for path in server.paths() if "big.bin" in path or "README" in path]


async def test_a_peek_into_a_zip_file_fetches_parts_of_it(server, providers):
    big = os.urandom(3_000_000)
    packed = make_zip({"top/environment.yml": b"name: x\n", "top/big": big}, compress=False)
    server.add_zenodo("8", {"all.zip": packed})
    fetcher = server.fetcher(providers, peek_max_bytes=2**20)
    async with fetcher.peek(await resolve(providers, "10.5281/zenodo.8")) as peek:
        assert tree(peek.path) == {"environment.yml": b"name: x\n"}
    ranges = [headers["Range"] for path, headers in server.asked if "all.zip" in path]
    assert len(ranges) == 2


async def test_a_peek_fetches_what_a_file_names(server, providers):
    files = {"requirements.txt": b"-r env/a b.txt", "env/a b.txt": b"-r c.txt", "env/c.txt": b"x"}
    server.add_zenodo("10", {**files, "env/other.txt": b"y"})
    server.add_zenodo("11", {"all.zip": make_zip({**files, "env/other.txt": b"y"})})
    for record in ("10", "11"):
        resolved = await resolve(providers, f"10.5281/zenodo.{record}")
        async with server.fetcher(providers).peek(resolved) as peek:
            assert files.keys() <= tree(peek.path).keys()
            assert [line.text for line in read_recipe(peek.path).requirements] == ["x"]


@pytest.mark.parametrize("size", [100, 1_500_000])
async def test_a_peek_without_parts_fetches_the_zip_file(server, providers, size):
    server.ranges = False
    server.add_zenodo("9", {"all.zip": make_zip({"apt.txt": b"", "b": os.urandom(size)})})
    async with server.fetcher(providers).peek(await resolve(providers, "10.5281/zenodo.9")) as peek:
        assert tree(peek.path) == {"apt.txt": b""}


async def test_a_peek_at_one_large_file_that_is_no_zip_is_cheap(server, providers):
    server.add_zenodo("10", {"all.zip": os.urandom(3_000_000)})
    fetcher = server.fetcher(providers, peek_max_bytes=2**20)
    async with fetcher.peek(await resolve(providers, "10.5281/zenodo.10")) as peek:
        assert tree(peek.path) == {}


# --- What goes wrong ------------------------------------------------------------------------------


async def test_an_unknown_doi_is_said_to_be_unknown(server, providers):
    with pytest.raises(RepositoryNotFound, match=r"has no 10\.5281/zenodo\.404"):
        await resolve(providers, "10.5281/zenodo.404")


async def test_a_closed_record_is_said_to_be_closed(server, providers, into):
    server.add_zenodo("11", FILES)
    resolved = await resolve(providers, "10.5281/zenodo.11")
    server.faults["/api/records/11/files"].append(status(403))
    with pytest.raises(RepositoryNotFound, match="private or not yet published"):
        await checkout(server, providers, resolved, into)


async def test_a_doi_of_something_else_says_where_it_leads(server, providers):
    server.dois["10.1000/paper"] = "https://journal.example.org/article/1"
    with pytest.raises(NotUnderstood, match=r"leads to journal\.example\.org"):
        await resolve(providers, "10.1000/paper")


async def test_a_wrong_checksum_fails_the_fetch(server, providers, into):
    server.add_zenodo("12", FILES)
    server.files["zenodo-12/data/a.csv"] = b"9,9\n"
    resolved = await resolve(providers, "10.5281/zenodo.12")
    with pytest.raises(FetchFailed, match="md5 checksum") as caught:
        await checkout(server, providers, resolved, into)
    assert caught.value.error_code == "checksum_mismatch"
    assert not into.exists()


async def test_a_connection_that_breaks_is_tried_again(server, providers, into):
    data = os.urandom(200_000)
    server.add_zenodo("13", {"a.bin": data, "b": b"b"})
    server.faults["/storage/zenodo-13/a.bin"].append(cut(data))
    lines = await checkout(server, providers, await resolve(providers, "10.5281/zenodo.13"), into)
    assert (into / "a.bin").read_bytes() == data
    assert any("broke. Fetching a.bin again" in line for line in lines)


async def test_a_connection_that_keeps_breaking_is_given_up(server, providers, into):
    data = os.urandom(200_000)
    server.add_zenodo("14", {"a.bin": data, "b": b"b"})
    server.faults["/storage/zenodo-14/a.bin"] += [cut(data)] * 3
    resolved = await resolve(providers, "10.5281/zenodo.14")
    with pytest.raises(UpstreamUnavailable, match="broke 3 times"):
        await checkout(server, providers, resolved, into)


async def test_a_record_that_is_too_large_is_refused_before_it_is_fetched(server, providers, into):
    server.add_zenodo("15", {"a": b"0" * 60_000, "b": b"0" * 60_000})
    resolved = await resolve(providers, "10.5281/zenodo.15")
    with pytest.raises(FetchFailed, match="larger than") as caught:
        await checkout(server, providers, resolved, into, max_bytes=100_000)
    assert caught.value.error_code == "repository_too_large"
    assert not [path for path in server.paths() if "/storage/" in path]


async def test_a_record_of_too_many_files_is_refused(server, providers, into):
    server.add_zenodo("16", {f"{n}": b"" for n in range(11)})
    resolved = await resolve(providers, "10.5281/zenodo.16")
    with pytest.raises(FetchFailed, match="more than 10 files"):
        await checkout(server, providers, resolved, into, max_files=10)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
async def test_a_file_that_would_lie_outside_is_refused(server, providers, into, name):
    server.add_zenodo("17", {"ok": b"1", "bad": b"2"})
    server.answers["/api/records/17/files"]["entries"][1]["key"] = name
    resolved = await resolve(providers, "10.5281/zenodo.17")
    with pytest.raises(FetchFailed, match="outside"):
        await checkout(server, providers, resolved, into)
    assert not list(into.parent.rglob("evil"))


@pytest.mark.parametrize("name", ["a" * 300, "/".join("a" * 5000)])
async def test_a_file_that_no_disk_takes_is_refused_before_any_is_fetched(
    server, providers, into, name
):
    server.add_zenodo("30", {"ok": b"1", "bad": b"2"})
    server.answers["/api/records/30/files"]["entries"][1]["key"] = name
    resolved = await resolve(providers, "10.5281/zenodo.30")
    with pytest.raises(FetchFailed, match="invalid name"):
        await checkout(server, providers, resolved, into)
    assert not any("/content" in path for path, _ in server.asked)


async def test_a_title_that_no_command_takes_is_no_reason_to_fail(server, providers, into):
    server.add_zenodo("31", {"a": b"1"}, title="Data\0 of\n\ud800 \x1b[31mred")
    resolved = await resolve(providers, "10.5281/zenodo.31")
    commit = await server.fetcher(providers).checkout(resolved, into)
    assert git(into, "log", "-1", "--format=%s") == commit.subject
    assert commit.subject == "Data\ufffd of \ufffd \ufffd[31mred"


async def test_gits_own_folder_is_not_taken_from_a_record(server, providers, into):
    server.add_zenodo("18", {".git/hooks/pre-commit": b"evil", ".GIT/config": b"evil", "a": b"1"})
    server.add_zenodo(
        "19", {"x.zip": make_zip({".git/config": b"evil", "sub/.git/x": b"", "a": b"1"})}
    )
    for record in ("18", "19"):
        folder = into.with_name(record)
        await checkout(
            server, providers, await resolve(providers, f"10.5281/zenodo.{record}"), folder
        )
        assert tree(folder) == {"a": b"1"}
        assert "evil" not in (folder / ".git/config").read_text()


async def test_an_answer_that_makes_no_sense_is_an_error_in_words(server, providers):
    server.add_zenodo("20", FILES)
    for odd in ([], {"id": None}, {"id": {"a": 1}}, {"id": "../../x"}, "text", 7):
        server.answers["/api/records/20"] = odd
        with pytest.raises(UpstreamUnavailable):
            await providers.resolve(providers.understand("10.5281/zenodo.20").spec, fresh=True)


# --- What the configuration rules out -------------------------------------------------------------


async def test_a_banned_record_is_refused_by_its_doi_and_by_its_page(server):
    server.add_zenodo("21", FILES, concept="1")
    server.add_zenodo("22", FILES)
    c = Config()
    c.ZenodoProvider.banned = ["https://doi.org/10.5281/ZENODO.21", "127.0.0.1*/records/22"]
    providers = server.providers(c)
    for text in ("10.5281/zenodo.21", "doi:10.5281%2Fzenodo.22"):
        with pytest.raises(NotAllowed):
            await resolve(providers, text)
    await providers.stop()


async def test_a_host_that_is_not_listed_is_not_asked(server):
    server.add_dataverse("10.7910/DVN/X", FILES)
    c = Config()
    c.DataverseProvider.hosts = ["dataverse.example.org"]
    providers = server.providers(c)
    with pytest.raises(BinderError, match=r"leads to 127\.0\.0\.1"):
        await resolve(providers, "10.7910/DVN/X")
    await providers.stop()


async def test_the_hosts_that_git_is_kept_to_hold_for_records_too(server):
    server.add_zenodo("23", FILES)
    providers = server.providers()
    providers.git.allowed_hosts = ["github.com"]
    with pytest.raises(NotAllowed, match=r"127\.0\.0\.1"):
        await resolve(providers, "10.5281/zenodo.23")
    await providers.stop()
