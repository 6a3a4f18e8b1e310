"""A cache that behaves as empty while the broker is down, so that pages still answer, and the flag that says so."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.core.cache import cache
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

REST = 5.0  # seconds for which a broker that was found down is not asked again


class Json:
    """How values lie in the broker: as JSON, never pickled. A text that is not JSON counts as not there."""

    def __init__(self, **_: Any) -> None:
        """Take what Django hands to every serializer."""

    def dumps(self, value: Any) -> bytes | int:
        """Return a value as it is kept; whole numbers stay numbers, so that Redis can count."""
        return value if type(value) is int else json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        """Return a value as it was given."""
        try:
            return json.loads(data)
        except ValueError:
            return None


class SoftRedisCache(RedisCache):
    """Redis while it answers; an empty cache of this process while it does not (so rate limits still count)."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        """Take what Django hands to every cache backend."""
        # Django's own serializer is pickle: whoever may write to the broker would run code in every process.
        super().__init__(server, {**params, "OPTIONS": {**params.get("OPTIONS", {}), "serializer": Json}})
        self._spare = LocMemCache(f"soft-{id(self)}", {"TIMEOUT": 300})
        self._lock = threading.Lock()
        self._down_until = 0.0
        self._down = False

    def _soft(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if time.monotonic() >= self._down_until:
            try:
                value = getattr(super(), name)(*args, **kwargs)
            except (RedisError, OSError) as error:
                self._fell(error)
            else:
                self._rose()
                return value
        return getattr(self._spare, name)(*args, **kwargs)

    def _fell(self, error: Exception) -> None:
        with self._lock:
            self._down_until = time.monotonic() + REST
            if not self._down:
                self._down = True
                log.warning("the broker does not answer (%s); pages go on without their cache", type(error).__name__)

    def _rose(self) -> None:
        if not self._down:
            return
        with self._lock:
            self._down = False
            self._spare.clear()
        log.warning("the broker answers again")

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value, or the default when it is not there or the broker is down."""
        return self._soft("get", key, default, version=version)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Keep a value."""
        self._soft("set", key, value, timeout=timeout, version=version)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Keep a value unless there is one; return whether it was kept."""
        return bool(self._soft("add", key, value, timeout=timeout, version=version))

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give a value a new life time."""
        return bool(self._soft("touch", key, timeout=timeout, version=version))

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Forget a value."""
        return bool(self._soft("delete", key, version=version))

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Return whether there is a value."""
        return bool(self._soft("has_key", key, version=version))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Count up. Raises ValueError when there is no such value, as in every Django cache."""
        return int(self._soft("incr", key, delta=delta, version=version))

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values that are there."""
        found: dict[Any, Any] = self._soft("get_many", list(keys), version=version)
        return found

    def set_many(self, data: dict[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> list[Any]:
        """Keep several values."""
        self._soft("set_many", data, timeout=timeout, version=version)
        return []

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Forget several values."""
        self._soft("delete_many", list(keys), version=version)

    def clear(self) -> None:
        """Forget everything."""
        self._soft("clear")

    def answers(self) -> bool:
        """Return whether the broker answers now."""
        try:
            return bool(self._cache.get_client(None, write=True).ping())
        except (RedisError, OSError):
            return False


class _Seen:
    """The last look at the broker, for REST seconds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.until = 0.0
        self.down = False

    def ask(self, answers: Callable[[], bool]) -> bool:
        now = time.monotonic()
        if now < self.until:
            return self.down
        if self.lock.acquire(blocking=False):  # one asks, the others take the last answer
            try:
                self.down = not answers()
                self.until = time.monotonic() + REST
            finally:
                self.lock.release()
        return self.down


_seen = _Seen()


def broker_down() -> bool:
    """Return whether the broker was down at the last look (at most five seconds ago). Cheap: for every page."""
    answers = getattr(cache, "answers", None)
    return False if answers is None else _seen.ask(answers)
