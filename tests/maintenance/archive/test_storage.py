"""Where the archive is kept: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jupyterhub_binder.errors import ConfigurationError
from jupyterhub_binder.maintenance.archive.storage import (
    Bucket,
    Storage,
    StorageFailed,
    open_storage,
)
from jupyterhub_binder.store import Store
from tests.kit.databases import Databases
from tests.kit.launch_archive import DAY, MIDNIGHT, World, event
from tests.kit.s3 import Keys, S3Server, relay

Open = Callable[..., Storage]


@pytest.fixture
def open_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Return what opens a bucket with keys in the environment, as the docs' configuration does."""

    def open_it(bucket: str, keys: Keys = s3_server.writer, endpoint: str = "") -> Storage:
        for name, value in keys.environment().items():
            monkeypatch.setenv(name, value)
        return open_storage(f"s3://{bucket}", endpoint=endpoint or s3_server.endpoint)

    return open_it


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.s3)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(str(tmp_path / "archive"))
    server = request.getfixturevalue("s3_server")
    return request.getfixturevalue("open_bucket")(f"{server.new_bucket()}/launches/of this hub")


def test_a_written_file_stays_and_an_index_is_replaced(storage: Storage) -> None:
    assert storage.list() == set()
    assert storage.read("events-2026-08-05.jsonl") is None
    assert storage.create("events-2026-08-05.jsonl", b"first")
    assert not storage.create("events-2026-08-05.jsonl", b"second")
    assert storage.read("events-2026-08-05.jsonl") == b"first"
    storage.replace("index.html", b"one")
    storage.replace("index.html", b"two")
    assert storage.read("index.html") == b"two"
    assert storage.list() == {"events-2026-08-05.jsonl", "index.html"}


def test_one_of_several_writers_makes_a_file(storage: Storage) -> None:
    assert storage.list() == set()
    texts = [str(number).encode() for number in range(4)]
    with ThreadPoolExecutor(len(texts)) as threads:
        made = list(
            threads.map(lambda text: storage.create("events-2026-08-05.jsonl", text), texts)
        )
    assert made.count(True) == 1
    assert storage.read("events-2026-08-05.jsonl") == texts[made.index(True)]


@pytest.mark.s3
def test_an_archive_lists_all_files_of_its_prefix_and_no_others(
    s3_server: S3Server, open_bucket: Open
) -> None:
    name = s3_server.new_bucket()
    hub, other, whole = map(open_bucket, (f"{name}/hub", f"{name}/hub-2", name))
    assert hub.list() == set()
    names = {f"events-{number:04}.jsonl" for number in range(1001)}
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda each: hub.create(each, b""), names))
    other.replace("index.html", b"")
    assert hub.list() == names
    assert other.list() == {"index.html"}
    assert len(whole.list()) == len(names) + 1


@pytest.mark.s3
@pytest.mark.parametrize("right", [True, False])
def test_a_refused_key_is_named_but_not_shown(
    right: bool, s3_server: S3Server, open_bucket: Open
) -> None:
    keys = Keys()
    if right:
        keys.id = s3_server.writer.id
    bucket = open_bucket(s3_server.new_bucket(), keys)
    answer = "SignatureDoesNotMatch" if right else "InvalidAccessKeyId"
    with pytest.raises(StorageFailed, match=rf"{answer}\. Check AWS_ACCESS_KEY_ID") as refused:
        bucket.list()
    assert keys.id not in str(refused.value)
    assert keys.secret not in str(refused.value)


@pytest.mark.s3
def test_a_bucket_that_is_not_there_or_may_not_be_written_says_what_to_do(
    s3_server: S3Server, open_bucket: Open
) -> None:
    missing = open_bucket("missing")
    for use in (missing.list, lambda: missing.create("index.html", b"")):
        with pytest.raises(StorageFailed, match=r"bucket missing does not exist\. Create it"):
            use()
    read_only = open_bucket(s3_server.new_bucket(), s3_server.reader)
    assert read_only.list() == set()
    with pytest.raises(StorageFailed, match=r"AccessDenied\. Give it the rights"):
        read_only.create("index.html", b"")


def test_a_service_without_keys_says_where_to_set_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    bucket = open_storage("s3://launches", endpoint="http://127.0.0.1:9")
    with pytest.raises(StorageFailed, match="Set AWS_ACCESS_KEY_ID"):
        bucket.list()


@pytest.mark.s3
async def test_a_server_killed_in_an_upload_keeps_no_half_and_the_next_run_completes(
    s3_server: S3Server, open_bucket: Open, tmp_path: Path
) -> None:
    name = f"{s3_server.new_bucket()}/hub"
    store = await Store.open(Databases.url_for(tmp_path))
    small, large, launches = MIDNIGHT - 2 * DAY, MIDNIGHT - DAY, 12_000
    # SeaweedFS stores objects in pieces of 4 MB. This day is two of them, and the second never comes.
    with relay(s3_server, limit=5_000_000, then=s3_server.kill) as endpoint:
        world = World(store, tmp_path, open_bucket(name, endpoint=endpoint))
        spec = f"org/repo/{'b' * 200}"
        await world.keep(event(small), *(event(large, spec=spec) for _ in range(launches)))
        try:
            with pytest.raises(StorageFailed, match="can't be reached"):
                await world.archive.run()
        finally:
            s3_server.kill()
            s3_server.start()

    world.storage = open_bucket(name)
    assert world.storage.list() == {f"events-{small.date()}.jsonl"}
    await world.new_archive().run()
    assert world.specs(large) == [spec] * launches
    assert list(world.counts().values()) == ["1", str(launches)]
    await world.audit.stop()
    await store.close()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Return the address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield "http://{}:{}".format(*listener.getsockname())


def test_a_silent_storage_holds_up_neither_the_event_loop_nor_the_end_of_the_service(
    silent_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in Keys().environment().items():
        monkeypatch.setenv(name, value)

    async def serve() -> None:
        store = await Store.open(f"sqlite:///{tmp_path}/binder.sqlite")
        storage = open_storage("s3://launches", endpoint=silent_server)
        world, asked = World(store, tmp_path, storage), asyncio.Event()
        loop, ask = asyncio.get_running_loop(), storage.list

        def listed() -> set[str]:
            loop.call_soon_threadsafe(asked.set)
            return ask()

        storage.list = listed
        run = asyncio.create_task(world.archive.run())
        await asked.wait()
        run.cancel()
        await world.audit.stop()
        await store.close()

    service = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    service.start()
    service.join(timeout=20)
    assert not service.is_alive()


def test_a_bucket_without_conditional_writes_keeps_what_is_there() -> None:
    from botocore.exceptions import ClientError

    class Client:
        def __init__(self) -> None:
            self.kept: dict[str, bytes] = {}

        def put_object(self, **given: Any) -> None:
            if "IfNoneMatch" in given:
                raise ClientError({"Error": {"Code": "NotImplemented"}}, "PutObject")
            self.kept[given["Key"]] = given["Body"]

        def get_object(self, **given: Any) -> Any:
            if given["Key"] not in self.kept:
                raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
            return {"Body": self}

        def read(self) -> bytes:
            return self.kept["index.html"]

    bucket = Bucket("b", "", endpoint="", region="")
    bucket._client = Client()
    assert bucket.create("index.html", b"one")
    assert not bucket.create("index.html", b"two")
    assert bucket.read("index.html") == b"one"


def test_a_folder_that_can_not_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="can't be used"):
        open_storage(str(tmp_path / "file" / "archive")).create("index.html", b"")


@pytest.mark.parametrize(
    "url", ["archive", "https://example.org/x", "s3://", "s3://key:secret@bucket", "s3://b?key=x"]
)
def test_an_unusable_address_is_refused_at_start(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Archive\.url"):
        open_storage(url)
