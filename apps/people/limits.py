"""Counters against guessing, kept in the database: a dead broker must neither open the door nor lock it.

The sign-in library counts tries through Django's cache interface, so this is a cache backend; it holds JSON (lists of
moments and short marks), never pickles.
"""

import time
from datetime import timedelta
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import IntegrityError, transaction
from django.utils import timezone

_SWEEP_EVERY = 600.0  # seconds


class AttemptCache(BaseCache):
    """A cache of small JSON values in the table of attempts."""

    def __init__(self, _location: str, params: dict[str, Any]) -> None:
        """Take what Django hands to every cache backend."""
        super().__init__(params)
        self._swept = 0.0

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Keep a value unless there is one; one winner among many callers."""
        full, rows, now = self._full(key, version), self._rows(), timezone.now()
        self._sweep()
        expires = now + self._life(timeout)
        if rows.filter(key=full, expires_at__lte=now).update(value=value, expires_at=expires):
            return True
        try:
            with transaction.atomic():
                rows.create(key=full, value=value, expires_at=expires)
        except IntegrityError:
            return False
        return True

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Return the value while it lives."""
        found = self._rows().filter(key=self._full(key, version), expires_at__gt=timezone.now()).first()
        return default if found is None else found.value

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Keep a value."""
        self._rows().update_or_create(
            key=self._full(key, version),
            defaults={"value": value, "expires_at": timezone.now() + self._life(timeout)},
        )

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give a value a new life time."""
        rows = self._rows().filter(key=self._full(key, version), expires_at__gt=timezone.now())
        return bool(rows.update(expires_at=timezone.now() + self._life(timeout)))

    def delete(self, key: str, version: int | None = None) -> bool:
        """Forget a value."""
        return bool(self._rows().filter(key=self._full(key, version)).delete()[0])

    def clear(self) -> None:
        """Forget everything."""
        self._rows().all().delete()

    def _full(self, key: str, version: int | None) -> str:
        return self.make_and_validate_key(key, version=version)

    def _life(self, timeout: Any) -> timedelta:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return timedelta(seconds=float(300 if seconds is None else seconds))

    def _sweep(self) -> None:
        if time.monotonic() - self._swept > _SWEEP_EVERY:
            self._swept = time.monotonic()
            self._rows().filter(expires_at__lte=timezone.now()).delete()

    @staticmethod
    def _rows() -> Any:
        from apps.people.models import Attempts  # noqa: PLC0415 caches are made before models

        return Attempts.objects
