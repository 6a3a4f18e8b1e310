"""What people do to people, and the one way to write down who did what."""

import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.people.audit import Verdict, canonical_json, entry_hash, verify_chain
from apps.people.context import current_ip
from apps.people.models import AuditEntry, AuditHead, Person

HEAD = uuid.UUID(int=1)
SYSTEM = "Mainstay"


def record(
    *,
    actor: Person | None,
    verb: str,
    subject: str,
    subject_id: object = "",
    detail: Mapping[str, Any] | None = None,
    ip: str = "",
) -> AuditEntry:
    """Append to the audit chain, inside the caller's transaction: both are written or neither.

    `actor` None is Mainstay itself. `verb` is dotted ("backups.planned"). `detail` never holds a secret. Writers stand
    in line at the head row until the caller's transaction ends, so record late in it.
    """
    with transaction.atomic():
        head = _locked_head()
        entry = AuditEntry(
            seq=head.seq + 1,
            at=timezone.now(),
            actor=actor,
            actor_name=_clean(str(actor) if actor else SYSTEM, 120),
            ip=_clean(ip or current_ip(), 45),
            verb=_clean(verb, 60),
            subject=_clean(subject, 200),
            subject_id=_clean(str(subject_id), 64),
            detail_json=canonical_json(dict(detail or {})),
            prev_hash=head.hash,
        )
        entry.hash = entry_hash(bytes.fromhex(head.key), entry.fields(), head.hash)
        entry.save(force_insert=True)
        AuditHead.objects.filter(pk=HEAD).update(seq=entry.seq, hash=entry.hash)
    return entry


def verify_audit() -> Verdict:
    """Walk the whole chain in one snapshot and return the first bad entry, or none."""
    with transaction.atomic():
        head = AuditHead.objects.select_for_update().filter(pk=HEAD).first()
        if head is None:
            left = AuditEntry.objects.order_by("seq").first()
            return Verdict(0, "", left.seq, "the head of the chain is missing") if left else Verdict(0, "")
        rows = ((row.fields(), row.prev_hash, row.hash) for row in AuditEntry.objects.order_by("seq").iterator())
        return verify_chain(bytes.fromhex(head.key), rows, head_seq=head.seq, head_hash=head.hash)


def _locked_head() -> AuditHead:
    head = AuditHead.objects.select_for_update().filter(pk=HEAD).first()
    if head is None:
        AuditHead.objects.get_or_create(pk=HEAD, defaults={"key": secrets.token_hex(32)})
        head = AuditHead.objects.select_for_update().get(pk=HEAD)
    return head


def _clean(text: str, most: int) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")[:most]
