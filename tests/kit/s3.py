"""A real S3 server: SeaweedFS, whose program a wheel brings. It checks signatures and rights."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from jupyterhub_binder.demo.hub import free_ports
from tests.kit.waiting import wait_until


class Keys:
    """What an identity of the server signs with."""

    def __init__(self, *rights: str) -> None:
        self.id, self.secret = f"id-{secrets.token_hex(6)}", secrets.token_hex(16)
        self.rights = rights

    def environment(self) -> dict[str, str]:
        """Return the variables in which Amazon's tools look for them."""
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret}


class S3Server:
    """A server on 127.0.0.1, with identities of different rights."""

    def __init__(self, weed: str, folder: Path) -> None:
        self.admin = Keys("Admin")
        self.writer = Keys("List", "Read", "Write")
        self.reader = Keys("List", "Read")
        self._folder = folder
        self._weed = weed
        # Given, because otherwise they are others plus 10,000, which may be too many.
        names = ("master", "volume", "filer", "s3")
        names = (*names, *(f"{name}.port.grpc" for name in names))
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.port = self._ports["s3"]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._identities = folder / "identities.json"
        self._identities.write_text(json.dumps({"identities": self._describe()}))
        (folder / "data").mkdir()

    def _describe(self) -> list[dict[str, Any]]:
        return [
            {
                "name": keys.id,
                "credentials": [{"accessKey": keys.id, "secretKey": keys.secret}],
                "actions": keys.rights,
            }
            for keys in (self.admin, self.writer, self.reader)
        ]

    def start(self) -> None:
        """Start it, and wait until it can store something."""
        ports = [
            f"-{name if '.port' in name else f'{name}.port'}={port}"
            for name, port in self._ports.items()
        ]
        self._process = subprocess.Popen(
            [
                *(self._weed, "-logtostderr=true", "server", "-s3", "-filer", *ports),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self._folder / 'data'}"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={self._identities}"),
                f"-filer.localSocket={self._folder / 'filer.sock'}",
                f"-s3.localSocket={self._folder / 's3.sock'}",
                *("-s3.autoCreateBucket=false", "-s3.iam=false", "-master.telemetry=false"),
                *("-master.volumeSizeLimitMB=16", "-volume.max=50", "-master.electionTimeout=1s"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "log").open("ab"),
            cwd=self._folder,
        )
        try:
            wait_until(self._stores)
        except TimeoutError:
            raise AssertionError((self._folder / "log").read_text()[-2000:]) from None

    def _stores(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
        with (
            contextlib.suppress(ClientError, BotoCoreError),
            contextlib.closing(self.client()) as s3,
        ):
            if "probe" not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
                s3.create_bucket(Bucket="probe")
            # An empty object would not need the server of volumes, which is ready last.
            s3.put_object(Bucket="probe", Key="probe", Body=b"probe")
            return True
        return False

    def kill(self) -> None:
        """End it at once. Asked to stop, it waits for many seconds. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=60)
            self._process = None

    def client(self) -> Any:
        """Return a client of the server's administrator, which tries everything once."""
        session = botocore.session.Session()
        session.set_credentials(self.admin.id, self.admin.secret)
        config = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
        )
        return session.create_client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", config=config
        )

    def new_bucket(self) -> str:
        """Make a bucket; return its name."""
        name = f"bucket-{secrets.token_hex(6)}"
        with contextlib.closing(self.client()) as s3:
            s3.create_bucket(Bucket=name)
        return name


@contextlib.contextmanager
def running_s3(weed: str, folder: Path) -> Iterator[S3Server]:
    """Run a server in a folder."""
    server = S3Server(weed, folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def relay(server: S3Server, *, limit: int, then: Callable[[], None]) -> Iterator[str]:
    """Give the address of a relay to the server.

    Once `limit` bytes have passed in one connection, it calls `then` and closes the connection.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=serve, args=(near,), daemon=True).start()

    def serve(near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            far = socket.create_connection(("127.0.0.1", server.port))
            with far:
                threading.Thread(target=copy_back, args=(far, near), daemon=True).start()
                passed = 0
                while passed < limit and (data := near.recv(65536)):
                    far.sendall(data)
                    passed += len(data)
                if passed >= limit:
                    then()

    def copy_back(far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                near.sendall(data)

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield "http://{}:{}".format(*listener.getsockname())
