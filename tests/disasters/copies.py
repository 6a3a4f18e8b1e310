"""Disasters of the copies: deleted, rotten, cut, written over, tampered with, and stores that are gone or lie."""

import os
import shutil
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from apps.backups import services as backups
from apps.backups.facts import Stored
from apps.backups.models import Backup
from apps.backups.schedule import Schedule
from apps.backups.stores.s3 import S3Store
from tests.backups.factories import World, changed
from tests.disasters.registry import case
from tests.disasters.scene import Scene, newer, resecret

LISTED = "two-sided listing"
READ = "what was written to, and one old backup a day, is read again"
LADDER = "restore test against the record"


def flipped(path: Path, at: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 4
    path.write_bytes(data)


def path_of(made: World, backup: Backup) -> Path:
    """Return where an object lies in a folder store."""
    return Path(made.store.config["path"]) / backup.object_key


def a_week(made: World) -> list[Backup]:
    """Take and prove a backup, and put six older ones beside it."""
    made.clock.on(days=10)
    newest = made.proven()
    return [newest, *(made.copy(newest, days=ago) for ago in range(1, 7))]


@case("D03-deleted", "objects deleted from the bucket while runs are green", mechanism=LISTED, needs="s3",
      cause="gone from .*the store does not list it", step="find out who can delete")  # fmt: skip
def deleted_from_bucket(scene: Scene) -> list[str]:
    bucket = scene.servers.s3().bucket()
    made = scene.world(store=scene.servers.s3().place(bucket, prefix="safe"))
    backup = made.proven()
    if scene.broken:
        scene.servers.s3().client().delete_object(Bucket=bucket, Key=f"safe/{backup.object_key}")
    made.inspect()
    return scene.told(made)


@case("D03-rule", "a lifecycle rule deletes what is a few days old", mechanism=LISTED,
      cause="6 backups are gone", step="find out who can delete")  # fmt: skip
def lifecycle_rule(scene: Scene) -> list[str]:
    made = scene.world()
    _, *older = a_week(made)
    for backup in older if scene.broken else []:
        path_of(made, backup).unlink()
    made.inspect()
    return scene.told(made)


@case("D03-bucket", "the whole bucket is gone", mechanism="a store that cannot be read is a trouble, not a silence",
      needs="s3", cause="store .* cannot be read.*bucket", step="check|create|make|test|choose|name")  # fmt: skip
def bucket_gone(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    bucket = server.bucket()
    made = scene.world(store=server.place(bucket))
    made.proven()
    if scene.broken:
        for each in server.client().list_objects_v2(Bucket=bucket).get("Contents", []):
            server.client().delete_object(Bucket=bucket, Key=each["Key"])
        server.client().delete_bucket(Bucket=bucket)
    made.inspect()
    return scene.told(made)


@case("D30", "the store's folder disappears (not mounted)", mechanism="a failure never changes what is wanted",
      cause="store .* cannot be read.*does not exist", step="mounted")  # fmt: skip
def store_not_mounted(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    if scene.broken:
        Path(made.store.config["path"]).rename(scene.folder / "elsewhere")
    made.inspect()
    return scene.told(made)


@case("D30-removed", "somebody removes the store that a plan uses", mechanism="a failure never changes what is wanted",
      cause="still used by", step="change or remove the plan first")  # fmt: skip
def store_removed(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    unused = made.store
    if not scene.broken:
        (scene.folder / "unused").mkdir(mode=0o700)
        unused = backups.add_store(
            actor=made.owner, name=scene.word, kind="local", config={"path": str(scene.folder / "unused")}, secret={},
            domain={}, now=made.now,
        )  # fmt: skip
    scene.refused(lambda: backups.remove_store(actor=made.owner, store=unused, typed=unused.name, now=made.now))
    return scene.told(made)


@case("D24-rot", "a bit of an old backup rots, with its time kept", mechanism=READ,
      cause="bytes differ from what was sent", step="find out who can delete there, back up now")  # fmt: skip
def old_bit_rot(scene: Scene) -> list[str]:
    made = scene.world(spec=changed(prove_every=timedelta(days=60), schedule=_rarely()))
    week = a_week(made)
    victim = path_of(made, scene.random.choice(week[1:]))
    if scene.broken:
        times = victim.stat()
        flipped(victim, scene.random.randrange(1 << 20))
        os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    for _ in range(len(week)):
        made.inspect()
        made.clock.on(hours=23)
    return scene.told(made)


def _rarely() -> Schedule:
    """Return a schedule with no moment in the next 19 days, so that only what is in the store is looked at."""
    return Schedule.monthly((datetime.now(UTC) + timedelta(days=20)).day, time(2, 5))


@case("D24-gone", "one of many old backups is deleted", mechanism=LISTED,
      cause="one backup is gone", step="back up now")  # fmt: skip
def old_deleted(scene: Scene) -> list[str]:
    made = scene.world()
    week = a_week(made)
    if scene.broken:
        path_of(made, scene.random.choice(week[1:])).unlink()
    made.inspect()
    return scene.told(made)


@case("D34-cut", "the object is cut short", mechanism=LISTED, cause="another size than was sent", step="back up now")
def cut_short(scene: Scene) -> list[str]:
    made = scene.world(rows=4000)
    path = path_of(made, made.proven())
    if scene.broken:
        data = path.read_bytes()
        path.write_bytes(data[: scene.random.randrange(1, len(data))])
    made.inspect()
    return scene.told(made)


@case("D34-chunk", "the object is cut at a border of a chunk, and filled up to its size", mechanism=LADDER,
      cause="restore test .* failed.*sha-256 differs", step="find out who can write")  # fmt: skip
def cut_at_a_chunk(scene: Scene) -> list[str]:
    made = scene.world(rows=30_000)
    backup = made.back_up()
    path = path_of(made, backup)
    if scene.broken:
        data = path.read_bytes()
        assert len(data) > 70_000, len(data)
        path.write_bytes(data[: len(data) - len(data) % 65_552].ljust(len(data), b"\0"))
    made.prove()
    return scene.told(made)


@case("D35-new", "one bit of the newest backup rots", mechanism=LADDER,
      cause="bytes intact.*sha-256 differs", step="back up now")  # fmt: skip
def bit_rot(scene: Scene) -> list[str]:
    made = scene.world()
    path = path_of(made, made.back_up())
    if scene.broken:
        flipped(path, scene.random.randrange(1 << 20))
    made.prove()
    return scene.told(made)


@case("replay", "an older, valid backup of ours is put in the place of the newest", mechanism=READ,
      cause="bytes differ from what was sent|another size", step="back up now")  # fmt: skip
def replay(scene: Scene) -> list[str]:
    made = scene.world()
    made.clock.on(hours=-5)  # so that what is done now comes after the look, by the file's own time, too
    old = made.proven()
    made.clock.on(hours=1)
    new = made.back_up()
    made.inspect()
    if scene.broken:
        shutil.copyfile(path_of(made, old), path_of(made, new))
    made.clock.on(minutes=5)
    made.inspect()
    return scene.told(made)


@case("replay-version", "an object in a bucket with versions is written over", mechanism=READ, needs="s3",
      cause="written over|bytes differ|another size", step="back up now")  # fmt: skip
def written_over(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    bucket = server.bucket(lock=True)
    made = scene.world(store=server.place(bucket))
    made.clock.on(hours=-3)  # so that what is done now comes after the look, by the server's clock, too
    backup = made.proven()
    made.inspect()
    if scene.broken:
        same = server.client().get_object(Bucket=bucket, Key=backup.object_key)["Body"].read()
        server.client().put_object(Bucket=bucket, Key=backup.object_key, Body=same[::-1])
    made.inspect()
    return scene.told(made)


@case("D35-row", "a value in the restored data differs from the record", mechanism=LADDER,
      cause='restore test .* failed at "correct"', step="mend the cause, then test")  # fmt: skip
def tampered_record(scene: Scene) -> list[str]:
    made = scene.world()
    backup = made.back_up()
    if scene.broken:
        assert backup.manifest is not None
        backup.manifest["members"][0][2] = "f" * len(backup.manifest["members"][0][2])
        Backup.objects.filter(pk=backup.pk).update(manifest=backup.manifest)
    made.prove()
    return scene.told(made)


@case("D33", "rows are missing in the copy that the record has", mechanism=LADDER,
      cause='restore test .* failed at "complete"', step="mend the cause")  # fmt: skip
def tampered_count(scene: Scene) -> list[str]:
    made = scene.world()
    backup = made.back_up()
    if scene.broken:
        assert backup.manifest is not None
        backup.manifest["members"][-1][1] += scene.random.randrange(1, 9)
        Backup.objects.filter(pk=backup.pk).update(manifest=backup.manifest)
    made.prove()
    return scene.told(made)


@case("liar", "a store that answers 200 and keeps nothing", mechanism="the remote copy is looked for and read back",
      needs="s3", cause="does not list the object|not list", step="test the connection|rule that deletes")  # fmt: skip
def keeps_nothing(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    bucket = server.bucket()
    made = scene.world(store=server.place(bucket))
    made.proven()
    real = S3Store.put

    def put(self: S3Store, key: str, *words: Any, **named: Any) -> Stored:
        stored = real(self, key, *words, **named)
        server.client().delete_object(Bucket=bucket, Key=key)
        return stored

    if scene.broken:
        scene.patched(S3Store, "put", put)
    run = newer(made)
    while run.state == "waiting":
        made.clock.at = run.due_at
        backups.perform(run.pk, clock=made.clock)
        run.refresh_from_db()
    return scene.told(made)


@case("rotated", "the store's key was rotated elsewhere", mechanism="daily test of the connection, and the look",
      needs="s3", cause="key", step="check|correct|enter|copy|again")  # fmt: skip
def rotated_key(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    made = scene.world(store=server.place(server.bucket()))
    made.proven()
    if scene.broken:
        resecret(made.store, secret_key="not-the-secret-any-more")
    made.inspect()
    return scene.told(made)


@case("rights", "the store's key lost its right to write", mechanism="daily test of the connection", needs="s3",
      cause="store .* cannot be read.*(may not|right|denied|refus)", step="give|right|allow|policy")  # fmt: skip
def lost_rights(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    made = scene.world(store=server.place(server.bucket()))
    made.proven()
    if scene.broken:
        resecret(made.store, access_key="reader", secret_key="secret-reader")
    made.clock.on(days=1)
    newer(made)
    made.inspect()
    return scene.told(made)
