"""manage auditverify: walks the audit chain, names the first bad entry, and compares it with a head kept elsewhere."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.people.anchor import anchors_path, lost_anchor
from apps.people.models import AuditEntry
from apps.people.services import verify_audit


class Command(BaseCommand):
    """Verify the audit log. Exit code 0: whole. 1: changed."""

    help = "Verifies the audit log and names the first bad entry. Keep the printed head outside Mainstay."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --json to export the head and --expect to compare with a head that was kept elsewhere."""
        parser.add_argument("--json", action="store_true", help="print the verdict and the head as one JSON object")
        parser.add_argument(
            "--expect", metavar="SEQ:HASH", default="", help="a head printed earlier; it must still be there"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Print the verdict; exit with 1 when it is bad."""
        verdict = verify_audit()
        why = f"entry {verdict.bad_seq}: {verdict.why}" if verdict.bad_seq else ""
        if not why and (lost := lost_anchor()) is not None:
            why = f"entry {lost}: {anchors_path()} remembers it, and it is missing or another one now"
        if not why and options["expect"]:
            seq, _colon, digest = options["expect"].partition(":")
            kept = seq.isdigit() and AuditEntry.objects.filter(seq=int(seq), hash=digest).exists()
            why = "" if kept else f"entry {seq}: it is not the entry whose hash was kept elsewhere"
        if options["json"]:
            head = {"seq": verdict.count, "hash": verdict.head}
            self.stdout.write(json.dumps({"ok": not why, "head": head, "first_bad": verdict.bad_seq, "why": why}))
        elif why:
            self.stdout.write(
                f"The audit log was changed. {why[0].upper()}{why[1:]}. {verdict.count} entries before it are whole."
            )
        else:
            self.stdout.write(
                f"The audit log is whole: {verdict.count} entries. Head {verdict.count}:{verdict.head or '-'}"
            )
        if why:
            sys.exit(1)
