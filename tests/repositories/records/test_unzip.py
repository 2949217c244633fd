"""Zip files of strangers: what is in them lands in the folder, or nowhere."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_binder.errors import FetchFailed
from jupyterhub_binder.repositories.fetch_work import drop_leading_links
from jupyterhub_binder.repositories.records import unzip as unpack
from tests.kit.archive_server import make_zip

LIMITS = unpack.UnzipLimits(max_bytes=10**6, max_files=50)


def into(folder: Path, packed: bytes, limits: unpack.UnzipLimits = LIMITS) -> list[str]:
    lines: list[str] = []
    unpack.unpack(io.BytesIO(packed), folder, limits, lines.append)
    return lines


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def with_links(links: dict[str, str], files: dict[str, bytes] | None = None) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, target in links.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
        for name, data in (files or {}).items():
            archive.writestr(name, data)
    return packed.getvalue()


def test_a_lone_folder_at_the_top_is_left_out(tmp_path):
    into(tmp_path, make_zip({"top/": b"", "top/a": b"1", "top/b/c": b"2"}))
    assert names(tmp_path) == {"a", "b/c"}


def test_a_lone_file_is_no_folder(tmp_path):
    into(tmp_path, make_zip({"a": b"1"}))
    assert names(tmp_path) == {"a"}


def test_programs_stay_programs(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        info = zipfile.ZipInfo("run.sh")
        info.external_attr = 0o100755 << 16
        archive.writestr(info, "#!/bin/sh")
        archive.writestr("a", "")
    into(tmp_path, packed.getvalue())
    assert os.access(tmp_path / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "a", os.X_OK)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "x/.."])
def test_a_path_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(FetchFailed, match="outside"):
        into(tmp_path / "in", make_zip({name: b"evil", "b": b""}))
    assert not list(tmp_path.rglob("evil"))


def test_nothing_is_written_through_a_link(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    packed = with_links(
        {"d": str(outside), "e": "../outside", "ok": "a/file"},
        {"d/evil": b"evil", "a/file": b"1", "z": b""},
    )
    folder = tmp_path / "in"
    folder.mkdir()
    into(folder, packed)
    assert list(outside.iterdir()) == []
    assert drop_leading_links(folder) == ["e"]
    assert (folder / "ok").read_bytes() == b"1"
    assert not (folder / "d").is_symlink()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with pytest.raises(FetchFailed, match="larger than"):
        into(tmp_path, make_zip({"zeros": b"\0" * 50_000_000}))
    assert names(tmp_path) == set()


def test_a_bomb_that_lies_about_its_size_is_no_larger_than_it_says(tmp_path):
    packed = bytearray(make_zip({"zeros": b"\0" * 5_000_000, "b": b""}))
    real = (5_000_000).to_bytes(4, "little")
    small = (1000).to_bytes(4, "little")
    with pytest.raises(FetchFailed):
        into(tmp_path, bytes(packed).replace(real, small))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) <= 10**6


def test_too_many_files_are_refused(tmp_path):
    with pytest.raises(FetchFailed, match="more than 50 files"):
        into(tmp_path, make_zip({f"{n}": b"" for n in range(51)}))


def test_folders_count_as_files_do(tmp_path):
    nested = {"/".join([str(n), *"abcdefgh", "x"]): b"" for n in range(6)}
    with pytest.raises(FetchFailed, match="more than 50 files"):
        into(tmp_path, make_zip(nested))
    assert names(tmp_path) == set()


@pytest.mark.parametrize("name", ["a" * 256, "ä" * 128, "/".join("a" * 101)])
def test_a_name_that_no_disk_takes_is_refused_in_words(tmp_path, name):
    with pytest.raises(FetchFailed, match="invalid name"):
        into(tmp_path, make_zip({name: b"", "b": b""}))


def test_no_list_of_contents_is_read_that_is_longer_than_its_files_need(tmp_path):
    packed = bytearray(make_zip({"a": b"1", "b": os.urandom(3_000_000)}, compress=False))
    end = packed.rindex(b"PK\x05\x06")
    packed[end + 12 : end + 20] = (3_000_000).to_bytes(4, "little") + (0).to_bytes(4, "little")
    with pytest.raises(FetchFailed, match="too many files"):
        into(tmp_path, bytes(packed))


def test_a_file_below_a_file_is_refused_in_words(tmp_path):
    with pytest.raises(FetchFailed, match="same name"):
        into(tmp_path, make_zip({"a": b"1", "a/b": b"2", "c": b""}))


def test_an_encrypted_file_is_refused_in_words(tmp_path):
    packed = bytearray(make_zip({"a": b"1", "b": b"2"}))
    at = packed.index(b"PK\x01\x02") + 8
    packed[at] |= 1
    with pytest.raises(FetchFailed, match="encrypted"):
        into(tmp_path, bytes(packed))


@given(data=st.data())
def test_a_damaged_zip_file_is_refused_in_words(tmp_path_factory, data):
    packed = bytearray(make_zip({"a/b": b"123" * 50, "a/c": b"", "d": b"4"}))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    with contextlib.suppress(FetchFailed):
        into(folder / "in", bytes(packed))
    assert {path.name for path in folder.iterdir()} <= {"in"}


def test_what_is_missing_of_a_file_is_named():
    file = unpack.PartialFile(100)
    file.add(90, b"0123456789")
    file.seek(-10, os.SEEK_END)
    assert file.read() == b"0123456789"
    file.seek(0)
    with pytest.raises(unpack.Missing) as caught:
        file.read(10)
    assert (caught.value.start, caught.value.length) == (0, 10)
