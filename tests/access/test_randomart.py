"""The picture of a fingerprint is the one that ssh-keygen draws."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.access import randomart
from tests.access import ssh_keys


@pytest.mark.parametrize(("kind", "bits"), [("ed25519", 0), ("ecdsa", 521), ("rsa", 3072)])
def test_the_picture_matches_ssh_keygens(kind: str, bits: int) -> None:
    line = ssh_keys.made(kind, bits)[0]
    frame = ssh_keys.keygen("-lvf", given=line).splitlines()[2:-1]
    assert [row.strip("|")[:17] if len(row) != 19 else row[1:-1] for row in frame] == randomart.text(line.split()[1])


@settings(deadline=None)  # a busy machine is no fault
@given(st.binary(max_size=200))
def test_every_walk_has_128_steps_and_stays_inside(raw: bytes) -> None:
    drawn = randomart.picture(base64.b64encode(raw).decode())
    assert sum(drawn.visits.values()) == 128
    assert drawn.end in drawn.visits
    assert all(0 <= x < 17 and 0 <= y < 9 for x, y in drawn.visits)
    assert [len(row) for row in randomart.text(base64.b64encode(raw).decode())] == [17] * 9
