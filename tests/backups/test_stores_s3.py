"""A bucket of a real S3 server: what is sent is compared, what fails leaves nothing, what is wrong has its sentence."""

import hashlib
import io
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import pyrage
import pytest

from apps.backups import pipeline
from apps.backups.facts import EngineTrouble, LostLease, StoreTrouble
from apps.backups.stores.s3 import S3Store
from apps.backups.stores.s3_upload import MOST_PARTS, part_size
from tests.servers.s3 import Relay, S3Server

pytestmark = pytest.mark.real
MIB = 1024 * 1024


def quiet(_done: int) -> None:
    """Hear progress and do nothing."""


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    """Make one bucket for the tests that do not mind company."""
    return s3.bucket()


@pytest.fixture
def store(s3: S3Server, bucket: str, request: pytest.FixtureRequest) -> S3Store:
    """Return a store under a prefix of its own."""
    return S3Store(s3.place(bucket, prefix=f"t{os.urandom(6).hex()}"))


def code_of(look: Callable[[], Any]) -> str:
    """Return the code of the trouble that a look raises."""
    with pytest.raises(StoreTrouble) as caught:
        look()
    assert caught.value.sentence.endswith((".", "secret"))
    assert "secret-" not in caught.value.sentence
    return caught.value.code


def uploads(store: S3Store) -> list[Any]:
    """Return the unfinished uploads of a store."""
    answer = store.client.list_multipart_uploads(Bucket=store.bucket, Prefix=store.prefix)
    return list(answer.get("Uploads", []))


class Dripping(io.RawIOBase):
    """A stream whose reads come short, as a pipe's do, and that may fail after so many bytes."""

    def __init__(self, size: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.left, self.error, self.digest = size, error, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if self.left <= 0 and self.error is not None:
            raise self.error
        data = os.urandom(min(self.left, 70_000, size if size >= 0 else 70_000))
        self.left -= len(data)
        self.digest.update(data)
        return data


@pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB, 41 * MIB + 7])
def test_a_stream_of_any_length_goes_up_whole_and_comes_back(store: S3Store, size: int) -> None:
    stream = Dripping(size)
    told: list[int] = []
    stored = store.put("plan/a.age", stream, progress=told.append)  # type: ignore[arg-type]
    assert (stored.size, stored.sha256) == (size, stream.digest.hexdigest())
    digest = hashlib.sha256()
    with store.open("plan/a.age") as back:
        while data := back.read(MIB):
            digest.update(data)
    assert digest.hexdigest() == stored.sha256
    found = store.stat("plan/a.age")
    assert found is not None
    assert found.size == size
    assert abs(datetime.now(UTC) - found.modified) < timedelta(minutes=5)
    assert told == sorted(told)
    assert told[-1] == size
    assert uploads(store) == []
    assert [each.key for each in store.list("plan/")] == ["plan/a.age"]


def test_parts_grow_so_that_ten_thousand_hold_a_large_backup_in_little_memory() -> None:
    sizes = [part_size(number) for number in range(1, MOST_PARTS + 1)]
    assert sizes == sorted(sizes)
    assert sizes[0] == sizes[999] == 8 * MIB
    assert max(sizes) == 128 * MIB
    assert sum(sizes) > 860 * 1024 * MIB


@pytest.mark.parametrize("size", [3 * MIB, 40 * MIB])
@pytest.mark.parametrize("error", [EngineTrouble("The database went away."), LostLease()])
def test_a_source_that_fails_leaves_neither_object_nor_upload(store: S3Store, size: int, error: BaseException) -> None:
    with pytest.raises(type(error)):
        store.put("plan/a.age", Dripping(size, error), progress=quiet)  # type: ignore[arg-type]
    assert store.stat("plan/a.age") is None
    assert uploads(store) == []
    assert not [each for each in threading.enumerate() if each.name.startswith("backup-upload")]


def test_progress_that_stops_an_upload_leaves_nothing(store: S3Store) -> None:
    def stop(_done: int) -> None:
        raise LostLease

    with pytest.raises(LostLease):
        store.put("plan/a.age", Dripping(40 * MIB), progress=stop)  # type: ignore[arg-type]
    assert store.stat("plan/a.age") is None
    assert uploads(store) == []


def test_a_connection_cut_while_sending_is_borne(s3: S3Server, bucket: str, relay: Relay) -> None:
    store = S3Store(s3.place(bucket, endpoint=relay.endpoint, prefix=os.urandom(6).hex()))
    relay.cut_up = 13 * MIB
    stream = Dripping(40 * MIB)
    assert store.put("a", stream, progress=quiet).sha256 == stream.digest.hexdigest()  # type: ignore[arg-type]
    assert relay.cuts == 1


def test_a_connection_cut_while_reading_is_taken_up_where_it_broke(s3: S3Server, store: S3Store, relay: Relay) -> None:
    stored = store.put("a", Dripping(40 * MIB), progress=quiet)  # type: ignore[arg-type]
    far = S3Store(s3.place(store.bucket, endpoint=relay.endpoint, prefix=store.prefix))
    relay.cut_down = 17 * MIB
    digest = hashlib.sha256()
    with far.open("a") as back:
        while data := back.read(MIB):
            digest.update(data)
    assert relay.cuts == 1
    assert digest.hexdigest() == stored.sha256


def test_an_object_replaced_while_it_is_read_is_not_mixed_with_the_new_one(
    s3: S3Server, store: S3Store, relay: Relay
) -> None:
    store.put("a", Dripping(40 * MIB), progress=quiet)  # type: ignore[arg-type]
    far = S3Store(s3.place(store.bucket, endpoint=relay.endpoint, prefix=store.prefix))
    relay.cut_down = 30 * MIB

    def read_on() -> None:
        with far.open("a") as back:
            back.read(MIB)
            store.put("a", Dripping(40 * MIB), progress=quiet)  # type: ignore[arg-type]
            while back.read(MIB):
                pass

    code_of(read_on)


def test_an_answer_lost_after_the_store_put_the_object_together_is_no_failure(
    s3: S3Server, bucket: str, relay: Relay
) -> None:
    store = S3Store(s3.place(bucket, endpoint=relay.endpoint, prefix=os.urandom(6).hex()))

    def lose_the_answer(head: bytes) -> None:
        line = head.split(b"\r\n", 1)[0]
        if line.startswith(b"POST") and b"uploadId=" in line and not relay.cuts:
            relay.cut_down = 0  # every part is confirmed by now, so that the next bytes back are this answer

    relay.meddle = lose_the_answer
    stream = Dripping(20 * MIB)
    assert store.put("a", stream, progress=quiet).sha256 == stream.digest.hexdigest()  # type: ignore[arg-type]
    assert relay.cuts == 1


def test_a_bucket_that_goes_away_mid_run_is_said(s3: S3Server) -> None:
    store = S3Store(s3.place(s3.bucket()))

    class Pulling(Dripping):
        there = True

        def read(self, size: int = -1, /) -> bytes:
            if self.left < 20 * MIB and self.there:
                self.there = False
                store.client.delete_bucket(Bucket=store.bucket)
            return super().read(size)

    code = code_of(lambda: store.put("a", Pulling(60 * MIB), progress=quiet))  # type: ignore[arg-type]
    # Which of the calls meets the loss first differs: each has its own sentence.
    assert code in {"no-bucket", "upload-gone", "busy"}


def test_a_lost_object_is_said_to_be_lost(store: S3Store) -> None:
    assert code_of(lambda: store.open("plan/never").__enter__()) == "lost"
    assert store.stat("plan/never") is None
    store.delete("plan/never")  # one that is not there is no error


def test_a_key_that_leaves_the_store_is_refused(store: S3Store) -> None:
    for key in ("../x", "/x", "a//b", "a/../b", ".hidden", "a/.hidden", "", "a\x00", "ä"):
        with pytest.raises(StoreTrouble) as caught:
            store.put(key, io.BytesIO(b"x"), progress=quiet)
        assert caught.value.code == "bad-key"


def test_a_listing_of_many_pages_is_whole(store: S3Store) -> None:
    store.client.meta.events.register(
        "before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(MaxKeys=3)
    )
    for number in range(8):
        store.put(f"plan/{number}", io.BytesIO(b"x"), progress=quiet)
    assert [each.key for each in store.list("plan/")] == [f"plan/{number}" for number in range(8)]


def test_uploads_that_nobody_will_finish_are_aborted(store: S3Store) -> None:
    for key in ("plan/a", "plan/b", "other/c"):
        store.client.create_multipart_upload(Bucket=store.bucket, Key=store.prefix + key)
    now = datetime.now(UTC)
    assert store.abort_stale("plan/", before=now - timedelta(hours=1)) == 0
    assert store.abort_stale("plan/", before=now + timedelta(minutes=1)) == 2
    assert [each["Key"] for each in uploads(store)] == [store.prefix + "other/c"]


def test_versions_are_named_and_a_delete_frees_all_of_them(s3: S3Server) -> None:
    store = S3Store(s3.place(s3.bucket()))
    store.client.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"})
    first = store.put("a", io.BytesIO(b"one"), progress=quiet)
    second = store.put("a", io.BytesIO(b"two"), progress=quiet)
    assert first.version_id != second.version_id != ""
    store.delete("a")
    assert store.stat("a") is None
    assert store.client.list_object_versions(Bucket=store.bucket).get("Versions", []) == []


@pytest.mark.parametrize("size", [100, 20 * MIB])
@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_lock_is_set_confirmed_and_keeps_the_object(s3: S3Server, size: int, mode: str) -> None:
    store = S3Store(s3.place(s3.bucket(lock=True), lock_mode=mode))
    until = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    stored = store.put("a", Dripping(size), progress=quiet, until=until)  # type: ignore[arg-type]
    assert stored.locked_until == until
    assert stored.version_id
    kept = store.client.get_object_retention(Bucket=store.bucket, Key="a", VersionId=stored.version_id)["Retention"]
    assert kept["Mode"] == mode
    found = store.stat("a")
    assert found is not None
    assert found.locked_until == until
    with pytest.raises(StoreTrouble, match="locked until") as caught:
        store.delete("a")
    assert caught.value.code == "locked"
    assert store.stat("a") is not None


def test_without_a_lock_on_the_bucket_nothing_is_locked(store: S3Store) -> None:
    stored = store.put("a", io.BytesIO(b"x"), progress=quiet, until=datetime.now(UTC) + timedelta(days=3))
    assert stored.locked_until is None
    store.delete("a")


def test_a_store_that_changed_a_part_is_not_believed(s3: S3Server, bucket: str, relay: Relay) -> None:
    """A byte flipped on the way: the server compares the checksum and refuses, whatever is tried again."""
    store = S3Store(s3.place(bucket, endpoint=relay.endpoint, prefix=os.urandom(6).hex()))
    real = store.client.upload_part

    def changed(**arguments: Any) -> Any:
        arguments["Body"] = b"x" + bytes(arguments["Body"])[1:]
        return real(**arguments)

    store.client.upload_part = changed
    assert code_of(lambda: store.put("a", Dripping(20 * MIB), progress=quiet)) == "corrupted"  # type: ignore[arg-type]
    assert store.stat("a") is None
    assert uploads(store) == []


# --- the pipeline over it -------------------------------------------------------------------------


def test_a_backup_goes_through_the_whole_pipeline_and_back(store: S3Store) -> None:
    key = pyrage.x25519.Identity.generate()
    data = os.urandom(30 * MIB)
    sent = pipeline.send(
        io.BytesIO(data), store=store, key="plan/a.age", recipients=[str(key.to_public())], progress=quiet
    )
    with pipeline.opened(store, "plan/a.age", str(key), quiet) as stream:
        assert stream.read() == data
        assert stream.sha256 == sent.stored.sha256


def test_a_store_that_dies_under_the_pipeline_stops_it(s3: S3Server, bucket: str) -> None:
    relay = Relay(s3.endpoint)
    store = S3Store(s3.place(bucket, endpoint=relay.endpoint, prefix=os.urandom(6).hex()))
    read, write = os.pipe()

    def feed() -> None:
        try:
            for number in range(400):
                os.write(write, os.urandom(MIB))
                if number == 60:
                    relay.close()
        except BrokenPipeError:
            pass
        finally:
            os.close(write)

    feeder = threading.Thread(target=feed)
    feeder.start()
    stream: IO[bytes] = os.fdopen(read, "rb")
    public = str(pyrage.x25519.Identity.generate().to_public())
    with stream, pytest.raises(StoreTrouble) as caught:
        pipeline.send(stream, store=store, key="a", recipients=[public], progress=quiet)
    feeder.join()
    assert caught.value.code in {"unreachable", "connection"}
    assert not caught.value.permanent
    assert not [each.name for each in threading.enumerate() if each.name.startswith("backup-")]
