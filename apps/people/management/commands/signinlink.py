"""manage signinlink EMAIL: prints a one-time link for somebody who is locked out."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from apps.people.links import address
from apps.people.services import RefusedError, sign_in_link


class Command(BaseCommand):
    """Print a sign-in link: 15 minutes, one use, written to the audit log."""

    help = "Prints a one-time link for somebody who is locked out: it sets a new password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the address, and whether the second factor is lost too."""
        parser.add_argument("email")
        parser.add_argument(
            "--drop-second-factor",
            action="store_true",
            help="remove passkeys, authenticator app and recovery codes as well",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Print the link."""
        try:
            token = sign_in_link(
                email=options["email"], drop_second_factor=options["drop_second_factor"], now=timezone.now()
            )
        except RefusedError as refused:
            raise CommandError(str(refused)) from refused
        self.stdout.write("Send this link to that person only. It works once, for 15 minutes:")
        self.stdout.write(address("people-link-open", token))
