"""The key ring: what it seals opens only in its place, with its key, unchanged; and its file is nobody else's."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from apps.core import keys
from apps.core.keys import KeyRing, KeyRingError, load_ring, new_key, ring_path, save_ring, seal, sealed_with, unseal


@given(some.binary(max_size=5000), some.text(max_size=80))
def test_what_is_sealed_opens_in_its_place_and_only_there(plain: bytes, context: str) -> None:
    blob = seal(plain, context=context)
    assert unseal(blob, context=context) == plain
    with pytest.raises(KeyRingError, match="damaged or was moved"):
        unseal(blob, context=context + "x")


def test_the_same_text_never_looks_the_same_and_shows_nothing() -> None:
    one, two = (seal(b"correct horse battery", context="t.c:1") for _ in range(2))
    assert one != two
    assert b"horse" not in one
    assert one[0] == keys.VERSION
    assert sealed_with(one) == keys.the_ring().current.id


def test_one_flipped_bit_anywhere_keeps_it_shut() -> None:
    blob = seal(b"secret", context="t.c:1")
    for at in range(len(blob)):
        wrong = bytearray(blob)
        wrong[at] ^= 1
        with pytest.raises(KeyRingError):
            unseal(bytes(wrong), context="t.c:1")


@pytest.mark.parametrize("size", [0, 1, 9, 50, 96])
def test_what_is_cut_is_not_a_sealed_value(size: int) -> None:
    with pytest.raises(KeyRingError, match="not a sealed value"):
        unseal(seal(b"", context="t.c:1")[:size], context="t.c:1")


@pytest.fixture
def own_ring(tmp_path: Path, settings: object) -> Path:
    """Use a ring of this test's own."""
    settings.MAINSTAY_KEYS = tmp_path / "keys"  # type: ignore[attr-defined]
    save_ring(KeyRing((new_key(),)), ring_path())
    return ring_path()


def test_after_a_rotation_old_values_open_and_new_ones_use_the_new_key(own_ring: Path) -> None:
    old = seal(b"old", context="t.c:1")
    ring = load_ring(own_ring)
    save_ring(ring.rotated(), own_ring)
    assert sealed_with(seal(b"new", context="t.c:1")) != ring.current.id
    assert unseal(old, context="t.c:1") == b"old"
    assert [key.state for key in load_ring(own_ring).keys] == ["current", "decrypt-only"]


def test_a_missing_key_is_named(own_ring: Path) -> None:
    blob = seal(b"x", context="t.c:1")
    save_ring(KeyRing((new_key(),)), own_ring)
    with pytest.raises(KeyRingError, match=sealed_with(blob)):
        unseal(blob, context="t.c:1")


def test_the_file_is_closed_to_everybody_else_and_replaced_whole(own_ring: Path) -> None:
    assert own_ring.stat().st_mode & 0o777 == 0o600
    assert own_ring.parent.stat().st_mode & 0o777 == 0o700
    save_ring(load_ring(own_ring).rotated(), own_ring)
    assert own_ring.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in own_ring.parent.iterdir()] == ["ring.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"keys": []}', '{"keys": [{"id": "x"}]}', "\xff"])
def test_a_damaged_ring_is_refused_and_left_as_it_is(own_ring: Path, text: str) -> None:
    own_ring.write_bytes(text.encode("latin-1"))
    with pytest.raises(KeyRingError, match="cannot be read"):
        seal(b"x", context="t.c:1")
    assert own_ring.read_bytes() == text.encode("latin-1")


def test_a_key_of_the_wrong_length_is_refused(own_ring: Path) -> None:
    data = json.loads(own_ring.read_text())
    data["keys"][0]["key"] = "c2hvcnQ="
    own_ring.write_text(json.dumps(data))
    with pytest.raises(KeyRingError, match="cannot be read"):
        load_ring(own_ring)


def test_a_missing_ring_is_said_and_never_made(own_ring: Path) -> None:
    own_ring.unlink()
    with pytest.raises(KeyRingError, match="missing"):
        seal(b"x", context="t.c:1")
    assert not own_ring.exists()


def test_a_ring_shows_no_key_in_a_log_line() -> None:
    key = new_key()
    assert key.key not in repr(key)
    assert key.key not in repr(KeyRing((key,)))
    assert key.check != new_key().check


def test_many_threads_seal_while_the_ring_is_rotated(own_ring: Path) -> None:
    def work(number: int) -> bool:
        if number % 25 == 0:
            save_ring(load_ring(own_ring).rotated(), own_ring)
        text = str(number).encode()
        return unseal(seal(text, context="t.c:1"), context="t.c:1") == text

    # One writer at a time: rotations here come from one of the threads only by chance, so they are counted, not raced.
    with ThreadPoolExecutor(1) as pool:
        assert all(pool.map(work, range(100)))
    assert len(load_ring(own_ring).keys) == 5
