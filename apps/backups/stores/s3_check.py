"""Test the connection to a bucket for real: write, read, list, ask as a stranger, delete; look at clock and lock."""

import email.utils
import secrets
import time
from typing import Any

from apps.backups.facts import Checkup, StoreTrouble
from apps.backups.stores.keys import PROBE
from apps.backups.stores.s3_bucket import Bucket
from apps.backups.stores.s3_words import DENIED, code_of, not_s3

SKEW_SECONDS = 120  # S3 refuses 15 minutes; a clock this far off will be there some day
APPEND_ONLY = (
    "The key cannot delete objects. That protects backups from whoever takes over this machine; old ones then "
    "have to be removed by a lifecycle rule of the bucket."
)
NO_LOCK = (
    "The bucket has no object lock and this key may delete: whoever takes over this machine can erase backups there. "
    "Use a bucket that was made with object lock, or a key that may not delete."
)
_LISTING = {"Name", "KeyCount", "MaxKeys", "IsTruncated", "Contents"}  # every S3 store answers with some of these
_EVERYBODY = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)


def check(store: Bucket, *, public_confirmed: bool) -> Checkup:
    """Return what was found, or raise StoreTrouble for the first thing that must be mended.

    A bucket that the world can read is refused until `public_confirmed`; a key that cannot delete is a warning, because
    with a lock or an append-only key that is what one wants.
    """
    client = store.client
    with store.told("list objects"):
        try:
            answer = client.list_objects_v2(Bucket=store.bucket, Prefix=store.prefix + PROBE, MaxKeys=1)
        except Exception as error:
            code = code_of(error)
            if code.isdigit():  # S3 names what is wrong in XML; a bare status is a website, an API or a proxy
                # 500 is also what botocore makes of a page that came with status 200.
                raise not_s3(store.where, "" if code == "500" else code) from error
            raise
    if not _LISTING & set(answer):
        raise not_s3(store.where)  # well-formed, but a page; nothing is written to it
    warnings = _clock(answer)
    key, token = f"{PROBE}{secrets.token_hex(8)}", secrets.token_bytes(32)
    name = {"Bucket": store.bucket, "Key": store.prefix + key}
    with store.told("write objects"):
        put = client.put_object(**name, Body=token)
    version = str(put.get("VersionId") or "")
    try:
        with store.told("read objects back"):
            back = client.get_object(**name)["Body"].read()
        if back != token:
            raise StoreTrouble(
                f"{store.where} gave back other bytes than were written. Do not use this store.", code="damaged"
            )
        if key not in [each.key for each in store.list(PROBE)]:
            raise StoreTrouble(
                f"{store.where} does not list what was just written. Lost backups would not be noticed there.",
                code="no-list",
            )
        open_to = _open_to_the_world(store, name)
    finally:
        kept = _delete(store, name, version)
        warnings += kept
    if open_to:
        said = f"Everybody on the internet can {' and '.join(open_to)} in the bucket {store.bucket}."
        if not public_confirmed:
            raise StoreTrouble(
                f"{said} Backups there are encrypted, but anybody could see when and how much, and copy them. "
                "Close the bucket to the public; or confirm that it is meant.",
                code="public",
            )
        warnings.append(f"{said} You confirmed that this is meant.")
    locks = store.has_lock
    if not locks and not kept:
        warnings.append(NO_LOCK)
    lock = " Its object lock can keep backups from being deleted." if locks else ""
    return Checkup(
        f"The bucket {store.bucket} takes, lists and returns objects.{lock}",
        version=str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("server", "")),
        warnings=tuple(warnings),
        facts={"lock": locks, "public": bool(open_to), "versions": bool(version) and version != "null"},
    )


def _clock(answer: Any) -> list[str]:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    parsed = email.utils.parsedate_tz(headers.get("date", ""))
    if parsed is None:
        return []
    off = time.time() - email.utils.mktime_tz(parsed)
    if abs(off) < SKEW_SECONDS:
        return []
    way = "ahead of" if off > 0 else "behind"
    said = (
        f"This machine's clock is {abs(off) / 60:.0f} min {way} the store's. At 15 min S3 refuses "
        "everything: set it right."
    )
    return [said]


def _open_to_the_world(store: Bucket, name: dict[str, str]) -> list[str]:
    """Try as a stranger, then look at policy and list of rights, which may open what the trial did not try."""
    stranger = store.connect(signed=False, tries=1)
    found = []
    if _works(lambda: stranger.get_object(**name)["Body"].read(1)):
        found.append("read objects")
    if _works(lambda: stranger.list_objects_v2(Bucket=store.bucket, MaxKeys=1)):
        found.append("list objects")
    if not found and _works(lambda: _must(_policy_is_public(store))):
        found.append("use objects (its policy says so)")
    if not found and _works(lambda: _must(_acl_is_public(store))):
        found.append("use objects (its access list says so)")
    return found


def _policy_is_public(store: Bucket) -> bool:
    status = store.client.get_bucket_policy_status(Bucket=store.bucket)
    return bool(status.get("PolicyStatus", {}).get("IsPublic"))


def _acl_is_public(store: Bucket) -> bool:
    grants = store.client.get_bucket_acl(Bucket=store.bucket).get("Grants", [])
    return any(grant.get("Grantee", {}).get("URI") in _EVERYBODY for grant in grants)


def _must(held: bool) -> None:  # noqa: FBT001 a condition as an exception
    if not held:
        raise ValueError("no")


def _works(trial: Any) -> bool:
    try:
        trial()
    except Exception:  # noqa: BLE001 refused, not supported and unreachable are all the same here: not open to strangers
        return False
    return True


def _delete(store: Bucket, name: dict[str, str], version: str) -> list[str]:
    exact = {"VersionId": version} if version and version != "null" else {}
    try:
        store.client.delete_object(**name, **exact)
    except Exception as error:  # noqa: BLE001 every failure here is a warning with its own words
        if code_of(error) in DENIED or store.has_lock:
            return [APPEND_ONLY]
        return [f"The test object could not be deleted: {store.trouble(error, 'delete objects').sentence}"]
    return []
