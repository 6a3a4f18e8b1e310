"""manage firstadmin: makes the first owner from ADMIN_EMAIL and ADMIN_PASSWORD, or prints a one-time set-up link."""

import os
from typing import Any

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand
from django.utils import timezone

from apps.core.environment import secret
from apps.people.links import address
from apps.people.models import Person
from apps.people.services import first_admin


class Command(BaseCommand):
    """Make the first owner, or say how to become one. Called at every start; does nothing once there is an owner."""

    help = "Makes the first owner from ADMIN_EMAIL and ADMIN_PASSWORD (or _FILE), or prints a one-time set-up link."

    def handle(self, *_: Any, **__: Any) -> None:
        """Print the link on its own line, or nothing."""
        email, password = settings.ADMIN_EMAIL, secret("ADMIN_PASSWORD", default="")
        os.environ.pop("ADMIN_PASSWORD", None)  # nothing that is started from here inherits it
        if email and password:
            try:
                validate_password(password, Person(email=email))
            except ValidationError as error:
                self.stderr.write(f"ADMIN_PASSWORD was not used: {' '.join(error.messages)}")
                password = ""
        token = first_admin(email=email, password=password, now=timezone.now())
        if token:
            self.stdout.write("Nobody owns this Mainstay yet. Open this link within 60 minutes; it works once:")
            self.stdout.write(address("people-set-up-open", token))
