"""Downloads of conda packages, and the cache of them."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from jupyterhub_binder.backends.venv.conda import worker
from jupyterhub_binder.backends.venv.conda.cache import trim

DATA = b"0123456789"


@contextmanager
def drip(sent: bytes) -> Iterator[str]:
    """Promise `DATA`, and send these bytes of it one by one; yield the URL."""
    stop = threading.Event()

    def answer() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(DATA))
            for byte in sent:
                connection.sendall(bytes([byte]))
                stop.wait(0.1)
            stop.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/noarch/words-1.0-0.conda"
        finally:
            stop.set()
            thread.join()


async def download(cache: Path, url: str) -> Path:
    work = worker._Work({"cache": str(cache), "limits": {"bytes": 100}})
    sha256 = hashlib.sha256(DATA).hexdigest()
    archive = work._archive(url, sha256)
    await work._download(url, sha256, archive)
    return archive


async def test_a_slow_download_may_take_longer_than_a_host_may_be_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_SILENCE_SECONDS", 0.5)
    with drip(DATA) as url:
        assert (await download(tmp_path, url)).read_bytes() == DATA


async def test_a_host_that_stops_sending_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "_SILENCE_SECONDS", 0.3)
    with drip(DATA[:3]) as url, pytest.raises(worker.Refused, match="not_downloaded"):
        await download(tmp_path, url)
    assert "its host sent nothing" in capsys.readouterr().out
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_trimming_leaves_what_is_downloaded_again(tmp_path: Path) -> None:
    folder = tmp_path / "archives" / "abc"
    folder.mkdir(parents=True)
    old, part = folder / "words-1.0-0.conda", folder / ".7.part"
    for path in (old, part):
        path.write_bytes(DATA)
    os.utime(old, (0, 0))
    assert trim(tmp_path, 10**9) == len(DATA)
    assert list(folder.iterdir()) == [part]
    os.utime(part, (0, 0))
    assert trim(tmp_path, 10**9) == len(DATA)
    assert not folder.exists()
