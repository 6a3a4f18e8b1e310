"""Disasters of who may touch the copies: an intruder with our credentials, a bucket opened to the world, one fire."""

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

from botocore.exceptions import ClientError

from apps.backups import services as backups
from apps.backups.models import Backup
from apps.backups.stores import store_of
from apps.backups.stores.s3 import S3Store
from tests.backups.factories import APART, changed
from tests.disasters.registry import case
from tests.disasters.scene import Scene


def attack(store: Any, backup: Backup, bucket: str) -> list[str]:
    """With the stored credentials, try to delete the backup for good and to shorten its lock; return what worked."""
    client, name = store.client, {"Bucket": bucket, "Key": backup.object_key}
    version = {"VersionId": backup.version_id} if backup.version_id else {}
    worked = []
    with suppress(ClientError):
        soon = backup.created_at + timedelta(minutes=1)
        client.put_object_retention(**name, **version, Retention={"Mode": "GOVERNANCE", "RetainUntilDate": soon})
        worked.append("the lock was shortened")
    with suppress(ClientError):
        client.delete_object(**name, **version)
        worked.append("the backup was deleted")
    return worked


@case("D15", "an intruder deletes backups with our credentials", mechanism="object lock, tried for real; the listing",
      needs="s3", cause="the store does not list it", step="object lock")  # fmt: skip
def intruder(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    bucket = server.bucket(lock=not scene.broken)
    days = 0 if scene.broken else 3
    made = scene.world(store=server.place(bucket), spec=changed(lock_days=days))
    backup = made.proven()
    worked = attack(store_of(made.store.place()), backup, bucket)
    if not scene.broken:
        scene.say(*worked)
        assert backup.locked_until
    else:
        assert worked, "nothing kept the intruder from it"
    made.inspect()
    return scene.told(made)


@case("D15-said", "the bucket has no lock and the key may delete", mechanism="test of the connection", needs="s3",
      cause="no object lock", step="use a bucket|made with object lock|key that")  # fmt: skip
def no_lock_is_said(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    place = server.place(server.bucket(lock=not scene.broken))
    made = scene.world(store=place)
    made.proven()
    scene.say(*backups.check_store(place).warnings)
    return scene.told(made)


@case("D15-asked", "a plan asks for a lock that the bucket cannot give", mechanism="asked against achieved",
      needs="s3", cause="asks to lock .* locked nothing", step="bucket made with object lock")  # fmt: skip
def lock_not_given(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    made = scene.world(store=server.place(server.bucket(lock=not scene.broken)), spec=changed(lock_days=2))
    made.proven()
    return scene.told(made)


@case("D15-marker", "an intruder hides a locked backup by a delete marker", mechanism="two-sided listing", needs="s3",
      cause="the store does not list it", step="find out who can delete")  # fmt: skip
def delete_marker(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    bucket = server.bucket(lock=True)
    made = scene.world(store=server.place(bucket), spec=changed(lock_days=2))
    backup = made.proven()
    if scene.broken:
        S3Store(made.store.place()).client.delete_object(Bucket=bucket, Key=backup.object_key)
    made.inspect()
    return scene.told(made)


@case("D26-new", "the bucket can be read by the whole world", mechanism="a stranger's test", needs="s3",
      cause="everybody on the internet can", step="close the bucket")  # fmt: skip
def public_bucket(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    who = {"who": "public"} if scene.broken else {}
    place = server.place(server.bucket(public=scene.broken), **who)
    scene.refused(lambda: backups.check_store(place))
    made = scene.world()
    made.proven()
    return scene.told(made)


@case("D26-later", "the bucket is opened to the world after it was added", mechanism="daily test of the connection",
      needs="s3", cause="everybody on the internet can", step="close the bucket")  # fmt: skip
def opened_later(scene: Scene) -> list[str]:
    server = scene.servers.s3()
    bucket = server.bucket()
    made = scene.world(store=server.place(bucket))
    made.proven()
    made.inspect()
    if scene.broken:
        statement = {
            "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }  # fmt: skip
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        server.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    made.clock.on(hours=22)
    made.inspect()
    made.inspect()
    made.back_up()
    return scene.told(made)


@case("D17", "store and source burn together", mechanism="failure domains", cause="share .*site SBG2",
      step="add a store with another provider")  # fmt: skip
def one_building(scene: Scene) -> list[str]:
    same = {"provider": "host", "account": "1", "region": "eu", "site": "SBG2"}
    made = scene.world(domains=(same, {**same, "account": "2", "site": "SBG2" if scene.broken else "RBX"}))
    made.proven()
    return scene.told(made)


@case("D17-unknown", "nobody said where the store is", mechanism="failure domains: unknown counts as the same",
      cause="not known that .* is apart", step="say .*in its settings")  # fmt: skip
def unknown_place(scene: Scene) -> list[str]:
    made = scene.world(domains=({}, {}) if scene.broken else APART)
    made.proven()
    return scene.told(made)


@case("D17-account", "one stolen account opens source and store", mechanism="failure domains", cause="share account",
      step="another account")  # fmt: skip
def one_account(scene: Scene) -> list[str]:
    source = {"provider": "aws", "account": "123", "region": "eu-1"}
    store = {"provider": "aws", "account": "123" if scene.broken else "456", "region": "eu-2"}
    made = scene.world(domains=(source, store))
    made.proven()
    return scene.told(made)
