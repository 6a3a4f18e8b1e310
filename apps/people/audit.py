"""The audit chain's arithmetic: an entry's canonical form, its HMAC, and the SQL that makes the table append-only."""

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

GENESIS = "0" * 64
TABLE = "people_auditentry"

_SQLITE = {
    "people_audit_no_update": f"""CREATE TRIGGER people_audit_no_update BEFORE UPDATE ON {TABLE}
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    "people_audit_no_delete": f"""CREATE TRIGGER people_audit_no_delete BEFORE DELETE ON {TABLE}
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
}
_POSTGRESQL = {
    "people_audit_no_change": f"""CREATE TRIGGER people_audit_no_change BEFORE UPDATE OR DELETE ON {TABLE}
        FOR EACH ROW EXECUTE FUNCTION people_audit_refuse()""",
    "people_audit_no_truncate": f"""CREATE TRIGGER people_audit_no_truncate BEFORE TRUNCATE ON {TABLE}
        FOR EACH STATEMENT EXECUTE FUNCTION people_audit_refuse()""",
}
_POSTGRESQL_FUNCTION = """CREATE OR REPLACE FUNCTION people_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"""


def guard_sql(vendor: str) -> list[str]:
    """Return the statements that make the database refuse every change of an entry."""
    return [_POSTGRESQL_FUNCTION, *_POSTGRESQL.values()] if vendor == "postgresql" else list(_SQLITE.values())


def unguard_sql(vendor: str) -> list[str]:
    """Return the statements that take the guard off: for a migration backwards, and for emptying a test database."""
    if vendor == "postgresql":
        return [f"DROP TRIGGER IF EXISTS {name} ON {TABLE}" for name in _POSTGRESQL]
    return [f"DROP TRIGGER IF EXISTS {name}" for name in _SQLITE]


@dataclass(frozen=True, slots=True)
class Fields:
    """What one entry says, as it is hashed."""

    seq: int
    at: datetime
    actor_id: str
    actor_name: str
    ip: str
    verb: str
    subject: str
    subject_id: str
    detail: str  # canonical JSON


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a walk over the chain found. `bad_seq` is the first bad entry; None when all is well."""

    count: int
    head: str
    bad_seq: int | None = None
    why: str = ""


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys, no spaces and ASCII only: the same text on every database and machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)


def entry_hash(key: bytes, fields: Fields, prev_hash: str) -> str:
    """Return HMAC-SHA256 over the previous hash and the canonical form of the entry."""
    body = canonical_json(
        [
            "mainstay audit v1",
            prev_hash,
            fields.seq,
            fields.at.astimezone(UTC).isoformat(timespec="microseconds"),
            fields.actor_id,
            fields.actor_name,
            fields.ip,
            fields.verb,
            fields.subject,
            fields.subject_id,
            fields.detail,
        ]
    )
    return hmac.new(key, body.encode("ascii"), hashlib.sha256).hexdigest()


def verify_chain(key: bytes, rows: Iterable[tuple[Fields, str, str]], *, head_seq: int, head_hash: str) -> Verdict:
    """Walk (fields, prev_hash, hash) in order and compare with the head; name the first entry that does not fit."""
    prev, expected = GENESIS, 1
    for fields, prev_hash, written in rows:
        if fields.seq != expected:
            return Verdict(expected - 1, prev, expected, f"entry {expected} is missing")
        if prev_hash != prev:
            return Verdict(expected - 1, prev, fields.seq, "it does not follow the entry before it")
        if not hmac.compare_digest(entry_hash(key, fields, prev), written):
            return Verdict(expected - 1, prev, fields.seq, "its content was changed")
        prev, expected = written, expected + 1
    if (head_seq, head_hash) != (expected - 1, prev):
        return Verdict(
            expected - 1, prev, min(expected, head_seq + 1), "entries at the end are missing, or the head was changed"
        )
    return Verdict(expected - 1, prev)
