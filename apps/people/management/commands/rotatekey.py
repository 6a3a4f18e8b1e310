"""manage rotatekey: makes a new master key and seals every secret anew; killed halfway, the next call goes on."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from apps.core.keys import KeyRingError, ring_path, save_ring, the_ring
from apps.core.rewrap import rewrap_fields
from apps.core.ring_check import KeysRefusedError, check_keys
from apps.people.rewrap import rewrap_factors
from apps.people.services import record


class Command(BaseCommand):
    """Rotate the master key over every sealed field."""

    help = "Makes a new master key and seals every secret anew. The old key stays in the ring for decryption."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take --resume, which goes on with a rotation that was interrupted and makes no new key."""
        parser.add_argument(
            "--resume", action="store_true", help="go on with an interrupted rotation; makes no new key"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Make the key unless resuming, then walk."""
        try:
            if not options["resume"]:
                check_keys()  # never rotate a ring that is not this database's
                save_ring(the_ring().rotated(), ring_path())
            check_keys()  # marks the new key
            fields, factors = rewrap_fields(), rewrap_factors()
        except (KeyRingError, KeysRefusedError) as error:
            raise CommandError(
                f"{error}. Nothing was lost: what is sealed anew stays so, the rest opens with its old key. "
                "When it is mended: ./mainstay manage rotatekey --resume"
            ) from error
        with transaction.atomic():
            detail = {"fields": fields, "second_factors": factors}
            record(actor=None, verb="people.master_key_rotated", subject=f"key {the_ring().current.id}", detail=detail)
        self.stdout.write(
            f"Master key {the_ring().current.id} is current; {fields} values and {factors} second factors "
            "were sealed anew. Print the recovery key again: the old sheet lacks this key."
        )
