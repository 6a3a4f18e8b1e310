"""What core keeps in the database: which keys were ever used here, and when it last looked."""

from django.db import models
from django.utils import timezone


class RingMark(models.Model):
    """One key that sealed something in this database: its public id and a check value that gives nothing away."""

    key_id = models.CharField(max_length=80, primary_key=True)  # a master key's id, or an age recipient
    check_value = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        """Return the key's id."""
        return self.key_id


class Pulse(models.Model):
    """When a tick last looked at everything; one row."""

    at = models.DateTimeField()

    def __str__(self) -> str:
        """Return the moment."""
        return f"{self.at:%Y-%m-%d %H:%M:%S}"
