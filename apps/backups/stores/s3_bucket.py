"""One prefix of one S3-compatible bucket: the connection, reading, listing, deleting and the bucket's lock."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Any, cast
from urllib.parse import urlsplit

from apps.backups.facts import Stat, StoreTrouble
from apps.backups.stores.base import Place
from apps.backups.stores.keys import checked
from apps.backups.stores.s3_words import DENIED, code_of, explained
from apps.backups.stores.whole import Whole
from apps.core.outbound import OutboundError, refuse_never, resolve

CONNECT_SECONDS, READ_SECONDS, TRIES = 5, 30, 4
MOST_VERSIONS = 50  # of one key that a delete removes, one after the other
_making = threading.Lock()  # held while a client is made


class Bucket:
    """Objects under one prefix of one bucket. boto3 is imported on first use: it is the largest import of a worker."""

    def __init__(self, place: Place) -> None:
        """Take a place as `stores/base.py` describes it."""
        self._config, self._secret = place.config, place.secret
        self.bucket = str(place.config.get("bucket", "")).strip()
        prefix = str(place.config.get("prefix", "") or "").strip("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.endpoint = str(place.config.get("endpoint", "") or "").rstrip("/")
        self.region = str(place.config.get("region", "") or "us-east-1")
        self._client: Any = None
        self._locks: bool | None = None

    @property
    def where(self) -> str:
        """Return the endpoint for a sentence."""
        return urlsplit(self.endpoint).netloc or self.endpoint or "Amazon S3"

    @property
    def client(self) -> Any:
        """Return the boto3 client, made once; the endpoint is judged first."""
        if self._client is None:
            self._guard()
            self._client = self.connect(signed=True)
        return self._client

    def connect(self, *, signed: bool, tries: int = TRIES) -> Any:
        """Return a new client; without `signed` it asks as a stranger would."""
        import botocore  # noqa: PLC0415 see the class
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            signature_version="s3v4" if signed else botocore.UNSIGNED,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": tries},
            s3={"addressing_style": "path" if self._config.get("path_style") else "auto"},
            # Only what we ask for: many S3-compatible stores refuse the newer default checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=8,
            proxies={},
        )
        with self.told("use the store"), _making:
            client = _session().client(
                "s3",
                endpoint_url=self.endpoint or None,
                region_name=self.region,
                aws_access_key_id=self._secret.get("access_key", ""),
                aws_secret_access_key=self._secret.get("secret_key", ""),
                config=config,
            )
        client.meta.events.register("before-send.s3", _judge_request)
        return client

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        """Stream an object; a connection that breaks is taken up where it broke, of the very same object."""
        checked(key)
        reading = _Reading(self, key)
        try:
            yield cast("IO[bytes]", Whole(cast("IO[bytes]", reading), reading.size, key))
        finally:
            reading.close()

    def stat(self, key: str) -> Stat | None:
        """Return what the bucket knows of one object, with its version and lock."""
        checked(key)
        with self.told("read objects"):
            try:
                head = self.client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            except Exception as error:
                if code_of(error) in {"404", "NoSuchKey", "NotFound"}:
                    return None
                raise
        version = str(head.get("VersionId") or "")
        return Stat(
            key,
            int(head["ContentLength"]),
            head["LastModified"].astimezone(UTC),
            "" if version == "null" else version,
            head.get("ObjectLockRetainUntilDate"),
        )

    def list(self, prefix: str) -> Iterator[Stat]:
        """Return every object under a prefix."""
        for page in self._pages("list_objects_v2", "Contents", prefix, "list objects"):
            yield Stat(page["Key"].removeprefix(self.prefix), int(page["Size"]), page["LastModified"].astimezone(UTC))

    def delete(self, key: str) -> None:
        """Delete one object; in a bucket with versions every version of it, so that the space is really freed."""
        checked(key)
        for _ in range(MOST_VERSIONS):
            found = self.stat(key)
            if found is None:
                return
            self._delete_one(key, found)
            if not found.version_id:
                return

    def abort_stale(self, prefix: str, *, before: datetime) -> int:
        """Abort uploads begun before a moment: their parts cost money and are in no listing."""
        stale = [
            upload
            for upload in self._pages("list_multipart_uploads", "Uploads", prefix, "list unfinished uploads")
            if upload["Initiated"] < before
        ]
        for upload in stale:
            with self.told("abort unfinished uploads"), _gone_is_fine("NoSuchUpload"):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        return len(stale)

    @property
    def has_lock(self) -> bool:
        """Return whether the bucket was made with object lock. Not allowed to ask counts as no."""
        if self._locks is None:
            try:
                answer = self.client.get_object_lock_configuration(Bucket=self.bucket)
                self._locks = answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
            except Exception as error:
                code = code_of(error)
                if not code or code in {"NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch"}:
                    raise self.trouble(error, "read the bucket's lock") from error
                self._locks = False
        return self._locks

    @property
    def lock_mode(self) -> str:
        """Return how objects are locked: GOVERNANCE (a special right can lift it) unless COMPLIANCE is configured."""
        return "COMPLIANCE" if str(self._config.get("lock_mode", "")).upper() == "COMPLIANCE" else "GOVERNANCE"

    @contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Turn whatever the client raises inside into a trouble with a sentence."""
        try:
            yield
        except (StoreTrouble, GeneratorExit):
            raise
        except Exception as error:
            if not _from_client(error):
                raise
            raise self.trouble(error, doing) from error

    def trouble(self, error: Exception, doing: str) -> StoreTrouble:
        """Return the trouble that an error of the client means."""
        return explained(error, endpoint=self.where, bucket=self.bucket, doing=doing)

    def _delete_one(self, key: str, found: Stat) -> None:
        version = {"VersionId": found.version_id} if found.version_id else {}
        with self.told("delete objects"):
            try:
                self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key, **version)
            except Exception as error:
                if code_of(error) in DENIED and found.locked_until is not None:
                    raise StoreTrouble(
                        f"{key} is locked until {found.locked_until:%d %b %Y %H:%M} UTC; nobody can delete it before. "
                        "Nothing was changed.",
                        code="locked",
                    ) from error
                raise

    def _pages(self, call: str, part: str, prefix: str, doing: str) -> Iterator[Mapping[str, Any]]:
        pages = iter(self.client.get_paginator(call).paginate(Bucket=self.bucket, Prefix=self.prefix + prefix))
        while True:
            with self.told(doing):
                page = next(pages, None)
            if page is None:
                return
            yield from page.get(part, [])

    def _guard(self) -> None:
        if not self.bucket:
            raise StoreTrouble("The name of the bucket is missing. Nothing was sent.", code="bad-bucket")
        if not self._secret.get("access_key") or not self._secret.get("secret_key"):
            # Without them boto3 would look for keys of its own: in the environment, in files, at a metadata service.
            raise StoreTrouble("The access key or the secret key is missing. Nothing was sent.", code="wrong-key")
        if not self.endpoint:
            return
        parts = urlsplit(self.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise StoreTrouble(
                "The endpoint must be a whole address such as https://s3.example.com. Nothing was sent.",
                code="bad-endpoint",
            )
        try:
            resolve(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), private=True)
        except (OutboundError, ValueError) as error:
            raise StoreTrouble(str(error), code="unreachable", permanent=getattr(error, "permanent", True)) from error


def _judge_request(request: Any, **_: Any) -> None:
    """Judge each request where it really goes: names change their address, and answers lead to other hosts."""
    parts = urlsplit(request.url)
    try:
        refuse_never(str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80))
    except OutboundError as error:
        raise StoreTrouble(f"{error} Nothing was sent.", code="unreachable") from error


@functools.cache
def _session() -> Any:
    """Return the one session of this process: each has its own copy of what describes S3, 24 MB and 0.3 s of CPU.

    A session is not safe to share between threads while it makes a client, so one thread at a time does.
    """
    import boto3  # noqa: PLC0415 see the class

    return boto3.session.Session()


@contextmanager
def _gone_is_fine(*codes: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if code_of(error) not in codes:
            raise


def _from_client(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in {"botocore", "boto3", "urllib3", "builtins"} and (
        not isinstance(error, TypeError | AttributeError | KeyError | NameError)
    )


class _Reading:
    """Reads one object of one version, taking a broken connection up where it broke."""

    def __init__(self, store: Bucket, key: str) -> None:
        self._store, self._key, self._at, self._left = store, key, 0, TRIES
        self._close: Callable[[], None] = lambda: None
        with store.told("read objects"):
            answer = store.client.get_object(Bucket=store.bucket, Key=store.prefix + key)
        self.size, self._etag = int(answer["ContentLength"]), str(answer.get("ETag", ""))
        self._take(answer)

    def read(self, size: int) -> bytes:
        while True:
            try:
                data = bytes(self._body.read(size))
            except Exception as error:  # noqa: BLE001 whatever broke the connection, it is taken up again a few times
                self._again(error)
                continue
            if data or not size or self._at >= self.size:
                self._at += len(data)
                return data
            self._again(ConnectionError("ended early"))

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._close()

    def _take(self, answer: Any) -> None:
        self._body, self._close = answer["Body"], answer["Body"].close

    def _again(self, error: Exception) -> None:
        self._left -= 1
        if self._left <= 0:
            raise self._store.trouble(error, "read objects") from error
        self.close()
        with self._store.told("read objects"):
            same = {"IfMatch": self._etag} if self._etag else {}
            answer = self._store.client.get_object(
                Bucket=self._store.bucket, Key=self._store.prefix + self._key, Range=f"bytes={self._at}-", **same
            )
        self._take(answer)
