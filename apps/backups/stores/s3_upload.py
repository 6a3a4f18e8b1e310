"""The multipart loop: parts with a checksum each, sent side by side in flat memory, then compared with the store.

Our own, because boto3's `upload_fileobj` decides by the first read: a pipe that reads short became one request held in
memory, and a reader without read-to-end semantics was cut and reported as success.
"""

import base64
import contextlib
import hashlib
import secrets
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import IO, Any

from apps.backups.facts import Stored, StoreTrouble
from apps.backups.stores.base import Progress
from apps.backups.stores.s3_bucket import Bucket

MIB = 1024 * 1024
MOST_PARTS = 10_000  # S3's own limit
AT_ONCE = 3
HELD = 32 * MIB  # bytes of parts under way; larger parts go one by one


def part_size(number: int) -> int:
    """Return the size of part `number` (from 1): 8 MiB, doubled every thousand parts up to 128 MiB; 867 GiB in all."""
    return 8 * MIB << min((number - 1) // 1000, 4)


class Upload:
    """One object on its way. Used once."""

    def __init__(self, store: Bucket, key: str, progress: Progress, until: datetime | None) -> None:
        """Take the store, the object's name, who is told of bytes, and the end of the lock."""
        self._store, self._key, self._progress, self._until = store, key, progress, until
        self._name = {"Bucket": store.bucket, "Key": store.prefix + key}
        self._token = secrets.token_hex(16)  # tells our object from another of the same name
        self._digest = hashlib.sha256()
        self._sent = self._size = 0
        self._ended = False
        self._parts: list[dict[str, Any]] = []
        self._sums: list[bytes] = []

    def run(self, stream: IO[bytes]) -> Stored:
        """Send the stream to its end and return what the store confirmed to hold."""
        first = self._fill(stream, part_size(1))
        if self._ended:
            return self._single(first)
        with self._store.told("write objects"):
            begun = self._store.client.create_multipart_upload(
                **self._name, **self._lock(), ChecksumAlgorithm="SHA256", Metadata={"mainstay": self._token}
            )
        upload = str(begun["UploadId"])
        try:
            self._send(stream, first, upload)
            version = self._complete(upload)
        except BaseException:
            self._abort(upload)
            raise
        return self._confirmed(version, len(self._parts))

    def _single(self, data: bytearray) -> Stored:
        with self._store.told("write objects"):
            answer = self._store.client.put_object(
                **self._name,
                **self._lock(),
                Body=bytes(data),
                ChecksumSHA256=_base64(hashlib.sha256(data).digest()),
                Metadata={"mainstay": self._token},
            )
        self._progress(len(data))
        return self._confirmed(str(answer.get("VersionId") or ""), 0)

    def _send(self, stream: IO[bytes], data: bytearray, upload: str) -> None:
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="backup-upload")
        under_way: set[Future[None]] = set()
        try:
            number = 1
            while data:
                if number > MOST_PARTS:
                    raise StoreTrouble(
                        "The backup is larger than 867 GiB after compression, more than one object can hold. "
                        "Nothing was left in the store. Split the source into several plans.",
                        code="too-large",
                    )
                self._parts.append({})
                self._sums.append(b"")
                under_way.add(pool.submit(self._part, upload, number, data))
                at_once = max(1, min(AT_ONCE, HELD // part_size(number)))
                under_way = self._wait(under_way, fewer_than=at_once)
                number += 1
                data = bytearray() if self._ended else self._fill(stream, part_size(number))
            self._wait(under_way, fewer_than=1)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _wait(self, under_way: "set[Future[None]]", *, fewer_than: int) -> "set[Future[None]]":
        while len(under_way) >= fewer_than:
            done, under_way = wait(under_way, timeout=1, return_when=FIRST_COMPLETED)
            for each in done:
                each.result()
            self._progress(self._sent)
        return under_way

    def _part(self, upload: str, number: int, data: bytearray) -> None:
        digest = hashlib.sha256(data).digest()
        with self._store.told("write objects"):
            answer = self._store.client.upload_part(
                **self._name, UploadId=upload, PartNumber=number, Body=data, ChecksumSHA256=_base64(digest)
            )
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if told := answer.get("ChecksumSHA256"):  # a store that knows no checksums says nothing
            if told != _base64(digest):
                raise self._changed(f"part {number} arrived changed")
            part["ChecksumSHA256"] = told
        self._parts[number - 1], self._sums[number - 1] = part, digest
        self._sent += len(data)

    def _complete(self, upload: str) -> str:
        with self._store.told("write objects"):
            try:
                answer = self._store.client.complete_multipart_upload(
                    **self._name, UploadId=upload, MultipartUpload={"Parts": self._parts}
                )
            except Exception:
                # The answer may have been lost on its way although the store has put the object together.
                version = self._ours()
                if version is None:
                    raise
                return version
        return str(answer.get("VersionId") or "")

    def _confirmed(self, version: str, parts: int) -> Stored:
        """Compare what was sent with what the store holds; an object that differs is removed again."""
        try:
            named = {**self._name, **({"VersionId": version} if version and version != "null" else {})}
            with self._store.told("read objects back"):
                head = self._store.client.head_object(**named, ChecksumMode="ENABLED")
            self._compare(head, parts)
            locked = self._locked(named)
        except BaseException:
            with contextlib.suppress(Exception):
                self._store.delete(self._key)
            raise
        version = str(head.get("VersionId") or version or "")
        return Stored(self._key, self._size, self._digest.hexdigest(), "" if version == "null" else version, locked)

    def _compare(self, head: Any, parts: int) -> None:
        if int(head["ContentLength"]) != self._size:
            raise self._changed(f"it holds {head['ContentLength']} of {self._size} bytes")
        if head.get("Metadata", {}).get("mainstay", self._token) != self._token:
            raise self._changed("another object of the same name is there")
        told = str(head.get("ChecksumSHA256") or "")
        if told and told not in self._checksum(parts):
            raise self._changed("its checksum is another one")

    def _checksum(self, parts: int) -> tuple[str, ...]:
        """Return what a right store may answer: of one request the digest, of parts the digest of the digests."""
        if not parts:
            return (_base64(self._digest.digest()),)
        composite = _base64(hashlib.sha256(b"".join(self._sums)).digest())
        return (f"{composite}-{parts}", composite, _base64(self._digest.digest()))

    def _locked(self, named: dict[str, Any]) -> datetime | None:
        if self._until is None:
            return None
        with self._store.told("read an object's lock"):
            answer = self._store.client.get_object_retention(**named)
        kept: datetime | None = answer.get("Retention", {}).get("RetainUntilDate")
        if kept is None or (self._until - kept).total_seconds() > 1:
            raise StoreTrouble(
                f"The bucket did not lock the object until {self._until:%d %b %Y} as asked. The backup was not kept. "
                "Check the bucket's object lock, or set the plan's lock to none.",
                code="not-locked",
            )
        return kept

    def _ours(self) -> str | None:
        """Return the version of our whole object ("" without versions), or None when it is not there."""
        try:
            head = self._store.client.head_object(**self._name)
        except Exception:  # noqa: BLE001 not known to be there is all that counts: the first error is the one that is told
            return None
        whole = head.get("Metadata", {}).get("mainstay") == self._token and int(head["ContentLength"]) == self._size
        return str(head.get("VersionId") or "") if whole else None

    def _abort(self, upload: str) -> None:
        """Leave neither parts nor an object. What cannot be aborted now is found later by `abort_stale`."""
        with contextlib.suppress(Exception):
            self._store.client.abort_multipart_upload(**self._name, UploadId=upload)
        with contextlib.suppress(Exception):
            version = self._ours()
            if version is not None:
                self._store.delete(self._key)

    def _fill(self, stream: IO[bytes], size: int) -> bytearray:
        """Return the next `size` bytes, fewer only at the stream's end, whatever the reads return."""
        data, done = bytearray(size), 0  # its full size at once: growing it would hold it twice while it moves
        with memoryview(data) as view:
            while done < size:
                piece = stream.read(size - done)
                if not piece:
                    self._ended = True
                    break
                self._digest.update(piece)
                view[done : done + len(piece)] = piece
                done += len(piece)
        del data[done:]
        self._size += done
        return data

    def _lock(self) -> dict[str, Any]:
        if self._until is None:
            return {}
        return {"ObjectLockMode": self._store.lock_mode, "ObjectLockRetainUntilDate": self._until}

    def _changed(self, how: str) -> StoreTrouble:
        return StoreTrouble(
            f"{self._store.where} does not hold what was sent: {how}. The copy was removed; the source is untouched. "
            "Mainstay tries again; if it repeats, this store cannot be trusted.",
            code="incomplete",
            permanent=False,
        )


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
