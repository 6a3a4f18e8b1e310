"""At start: keys are made once, and a database whose keys are missing or wrong is refused with nothing written."""

import json
from pathlib import Path

import pytest
from pytest_django import Settings

from apps.core.identity import IdentityError, identity_path, load_identity, make_identity, recipient
from apps.core.keys import load_ring, ring_path, save_ring
from apps.core.models import RingMark
from apps.core.ring_check import KeysRefusedError, check_keys

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def keys(settings: Settings, tmp_path: Path) -> Path:
    """Return a keys folder that does not exist yet."""
    settings.MAINSTAY_KEYS = tmp_path / "keys"
    return tmp_path / "keys"


def listing(folder: Path) -> dict[str, bytes]:
    """Return every file with its content."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def test_a_new_installation_gets_keys_once_each_for_its_owner_only(keys: Path) -> None:
    assert check_keys()
    before = listing(keys)
    assert set(before) == {"ring.json", "age.txt"}
    assert [path.stat().st_mode & 0o777 for path in keys.iterdir()] == [0o600, 0o600]
    assert not check_keys()
    assert listing(keys) == before
    assert {mark.key_id for mark in RingMark.objects.all()} == {load_ring(ring_path()).current.id, recipient()}


def test_the_identity_has_the_format_of_age_keygen(keys: Path) -> None:
    check_keys()
    lines = identity_path().read_text().splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["# created", "# public key"]
    assert lines[2].startswith("AGE-SECRET-KEY-1")
    assert lines[1].endswith(str(load_identity().to_public()))


def test_a_missing_ring_is_refused_by_key_id_and_nothing_is_written(keys: Path) -> None:
    check_keys()
    key_id = load_ring(ring_path()).current.id
    ring_path().unlink()
    before, marks = listing(keys), RingMark.objects.count()
    with pytest.raises(KeysRefusedError, match=key_id):
        check_keys()
    assert listing(keys) == before
    assert RingMark.objects.count() == marks


def test_a_whole_missing_keys_folder_is_refused_and_not_made(keys: Path) -> None:
    check_keys()
    for path in keys.iterdir():
        path.unlink()
    keys.rmdir()
    with pytest.raises(KeysRefusedError):
        check_keys()
    assert not keys.exists()


def test_another_installations_ring_is_refused_by_the_id_that_is_wanted(keys: Path) -> None:
    check_keys()
    ours = load_ring(ring_path())
    ring_path().unlink()
    RingMark.objects.all().delete()
    check_keys()
    theirs = listing(keys)
    RingMark.objects.filter(key_id__startswith="age1").delete()
    RingMark.objects.create(key_id=ours.current.id, check_value=ours.current.check)
    with pytest.raises(KeysRefusedError, match=ours.current.id):
        check_keys()
    assert listing(keys) == theirs


def test_a_key_with_the_right_id_and_the_wrong_bytes_is_refused(keys: Path) -> None:
    check_keys()
    content = json.loads(ring_path().read_text())
    content["keys"][0]["key"] = "B" * 43 + "="
    ring_path().write_text(json.dumps(content))
    with pytest.raises(KeysRefusedError, match=r"is not the one that sealed this database\. Nothing was changed"):
        check_keys()


def test_a_damaged_ring_is_refused_even_before_the_first_mark(keys: Path) -> None:
    keys.mkdir()
    ring_path().write_text("{")
    with pytest.raises(KeysRefusedError, match="cannot be read"):
        check_keys()
    assert ring_path().read_text() == "{"


def test_another_age_identity_is_refused_by_both_recipients(keys: Path) -> None:
    check_keys()
    wanted = recipient()
    identity_path().unlink()
    other = make_identity(identity_path())
    with pytest.raises(KeysRefusedError, match=f"{other}.*{wanted}"):
        check_keys()


def test_a_start_that_was_killed_between_the_file_and_the_mark_goes_on(keys: Path) -> None:
    check_keys()
    before = listing(keys)
    RingMark.objects.all().delete()
    assert not check_keys()
    assert listing(keys) == before
    assert RingMark.objects.count() == 2


def test_a_rotated_ring_gets_its_mark_at_the_next_start(keys: Path) -> None:
    check_keys()
    rotated = load_ring(ring_path()).rotated()
    save_ring(rotated, ring_path())
    check_keys()
    assert RingMark.objects.filter(key_id=rotated.current.id).exists()


def test_an_identity_is_never_made_over_another(keys: Path) -> None:
    check_keys()
    before = listing(keys)
    with pytest.raises(FileExistsError):
        make_identity(identity_path())
    assert listing(keys) == before


@pytest.mark.parametrize("content", ["", "AGE-SECRET-KEY-1NONSENSE\n", "# public key: age1x\n"])
def test_a_damaged_identity_is_said_without_its_content(keys: Path, content: str) -> None:
    keys.mkdir()
    identity_path().write_text(content)
    with pytest.raises(IdentityError, match="cannot be read") as caught:
        load_identity()
    assert "NONSENSE" not in str(caught.value)
