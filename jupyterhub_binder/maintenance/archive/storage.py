"""Where the archive is kept: a folder, or a bucket of S3-compatible storage.

All methods block, and raise StorageFailed. Each write is atomic for readers.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyterhub_binder.errors import ConfigurationError, UpstreamUnavailable
from jupyterhub_binder.model.text import Message

_TYPES = {".html": "text/html; charset=utf-8", ".jsonl": "application/x-ndjson"}
_PUBLIC = 0o644
_UNFINISHED = ".unfinished-"
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_EXISTS = frozenset({"412", "PreconditionFailed", "ConditionalRequestConflict"})
_NO_CONDITIONS = frozenset({"501", "NotImplemented"})


class StorageFailed(UpstreamUnavailable):
    """The archive's storage could not be read or written."""

    code = "archive_storage_failed"


class Storage(ABC):
    """Named files."""

    @abstractmethod
    def list(self) -> set[str]:
        """Return the names of all files."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a file, or None."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a new file; say whether it is new. An existing one stays as it is."""

    @abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Write a file."""

    @abstractmethod
    def remove_unfinished(self) -> None:
        """Remove what a killed writer left. Nobody may be writing."""


def open_storage(url: str, *, endpoint: str = "", region: str = "") -> Storage:
    """Return the storage at ``s3://bucket/prefix`` or at a folder. Raises ConfigurationError."""
    if not url.startswith("s3:"):
        if "://" in url or not Path(url).is_absolute():
            raise ConfigurationError(
                f"Archive.url is {url!r}. Give the absolute path of a folder, or s3://bucket/prefix."
            )
        return Folder(Path(url))
    parts = urlsplit(url)
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ConfigurationError(
            "Archive.url must be s3://bucket or s3://bucket/prefix, without a key. The keys come "
            "from the environment or a file."
        )
    return Bucket(parts.netloc, parts.path.strip("/"), endpoint=endpoint, region=region)


class Folder(Storage):
    """A folder of this machine, made if it does not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def list(self) -> set[str]:
        """Return the names of all files."""
        return _guard_folder(self._list)

    def _list(self) -> set[str]:
        return {entry.name for entry in self._path.iterdir()} if self._path.is_dir() else set()

    def remove_unfinished(self) -> None:
        """Remove what a killed writer left."""
        _guard_folder(self._remove_unfinished)

    def _remove_unfinished(self) -> None:
        for path in self._path.glob(f"{_UNFINISHED}*"):
            path.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        """Return a file, or None."""
        return _guard_folder(lambda: self._read(self._path / name))

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def create(self, name: str, data: bytes) -> bool:
        """Write a new file; say whether it is new."""
        return _guard_folder(lambda: self._write(name, data, new=True))

    def replace(self, name: str, data: bytes) -> None:
        """Write a file."""
        _guard_folder(lambda: self._write(name, data, new=False))

    def _write(self, name: str, data: bytes, *, new: bool) -> bool:
        self._path.mkdir(parents=True, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(dir=self._path, prefix=_UNFINISHED)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), _PUBLIC)
                os.fsync(file.fileno())
            if not new:
                Path(unfinished).replace(self._path / name)
                return True
            try:
                os.link(unfinished, self._path / name)
            except FileExistsError:
                return False
            return True
        finally:
            Path(unfinished).unlink(missing_ok=True)


def _guard_folder(work: Any) -> Any:
    try:
        return work()
    except OSError as error:
        raise StorageFailed(
            "The archive's folder can't be used: %(why)s.", why=error.strerror or "unknown error"
        ) from error


class Bucket(Storage):
    """A bucket of S3-compatible storage.

    botocore finds the keys as Amazon's tools do: in the environment, a file or the machine's role.
    """

    def __init__(self, bucket: str, prefix: str, *, endpoint: str, region: str) -> None:
        try:
            import botocore.session
        except ImportError:
            raise ConfigurationError(
                "Archive.url is a bucket, which needs the extra jupyterhub-binder[s3]."
            ) from None
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint = endpoint
        self._region = region
        self._session = botocore.session.get_session()
        self._client: Any = None

    def list(self) -> set[str]:
        """Return the names of all files."""
        return self._guard(self._list)

    def _list(self, client: Any) -> set[str]:
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        return {
            entry["Key"].removeprefix(self._prefix)
            for page in pages
            for entry in page.get("Contents", ())
        }

    def read(self, name: str) -> bytes | None:
        """Return a file, or None."""
        return self._guard(lambda client: self._read(client, name))

    def _read(self, client: Any, name: str) -> bytes | None:
        from botocore.exceptions import ClientError

        try:
            return client.get_object(**self._place(name))["Body"].read()
        except ClientError as error:
            if _code_of(error) in _MISSING:
                return None
            raise

    def create(self, name: str, data: bytes) -> bool:
        """Write a new file; say whether it is new."""
        return self._guard(lambda client: self._create(client, name, data))

    def _create(self, client: Any, name: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._put(client, name, data, IfNoneMatch="*")
        except ClientError as error:
            if _code_of(error) in _EXISTS:
                return False
            if _code_of(error) not in _NO_CONDITIONS:
                raise
            # This storage has no conditional writes; only this service writes to it.
            if self._read(client, name) is not None:
                return False
            self._put(client, name, data)
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Write a file."""
        self._guard(lambda client: self._put(client, name, data))

    def remove_unfinished(self) -> None:
        """Do nothing: a bucket has no part of an object."""

    def _put(self, client: Any, name: str, data: bytes, **conditions: str) -> None:
        kind = _TYPES[Path(name).suffix]
        client.put_object(**self._place(name), Body=data, ContentType=kind, **conditions)

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}{name}"}

    def _guard(self, work: Any) -> Any:
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )

        try:
            if self._client is None:
                self._client = self._connect()
            return work(self._client)
        except ClientError as error:
            raise StorageFailed(_explain(_code_of(error), self._bucket)) from None
        except (NoCredentialsError, PartialCredentialsError):
            raise StorageFailed(
                "No key for the archive's bucket %(bucket)s was found. Set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY for the service, then restart it.",
                bucket=self._bucket,
            ) from None
        except BotoCoreError as error:
            raise StorageFailed(
                "The archive's bucket %(bucket)s can't be reached at %(endpoint)s: %(kind)s.",
                bucket=self._bucket,
                endpoint=self._endpoint or "Amazon's address",
                kind=type(error).__name__,
            ) from None

    def _connect(self) -> Any:
        from botocore.config import Config

        return self._session.create_client(
            "s3",
            endpoint_url=self._endpoint or None,
            region_name=self._region or None,
            config=Config(
                connect_timeout=10,
                read_timeout=60,
                retries={"total_max_attempts": 3, "mode": "standard"},
                s3={"addressing_style": "path" if self._endpoint else "auto"},
                # Storage that is not Amazon's may not know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


def _explain(answer: str, bucket: str) -> Message:
    """Say what a storage's code means and what to do."""
    match answer:
        case "NoSuchBucket":
            return Message(
                "The archive's bucket %(bucket)s does not exist. Create it, because the service does "
                "not, or correct Archive.url.",
                bucket=bucket,
            )
        case "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken":
            return Message(
                "The archive's storage does not accept the service's key: %(answer)s. Check "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the file or role that gives the key, "
                "then restart the service.",
                answer=answer,
            )
        case "AccessDenied" | "Forbidden" | "403":
            return Message(
                "The service's key may not use the archive's bucket %(bucket)s: %(answer)s. Give it "
                "the rights to list the bucket, and to read and write its objects.",
                bucket=bucket,
                answer=answer,
            )
        case "AuthorizationHeaderMalformed" | "PermanentRedirect":
            return Message(
                "The archive's bucket %(bucket)s answered: %(answer)s. Set Archive.region to the "
                "bucket's region.",
                bucket=bucket,
                answer=answer,
            )
        case "RequestTimeTooSkewed":
            return Message(
                "The archive's storage refused a request because of its time. Correct the clock of "
                "the service's machine."
            )
    return Message(
        "The archive's bucket %(bucket)s answered: %(answer)s.", bucket=bucket, answer=answer
    )


def _code_of(error: Any) -> str:
    """Return the storage's own code, such as ``AccessDenied``, for logs."""
    code = error.response.get("Error", {}).get("Code", "unknown")
    return str(code)[:100]
