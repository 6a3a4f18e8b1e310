"""Changes of access that are undone, killed at any point, made twice, or meet a full disk; on files alone."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.access.model import DROPIN, Model, account, admin, key, public, wanted

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not Path("/usr/sbin/sshd").exists(), reason="needs root and sshd")
SOON = int(time.time()) + 72 * 3600


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model(tmp_path / "server")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Model]:
    """A server whose disk is full but for a little."""
    disk = tmp_path / "small"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "small", disk], check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        model = Model(disk / "server")
        (disk / "server/run").rmdir()
        (disk / "server/run").symlink_to(tmp_path)  # on a server that is a disk of its own
        yield model
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> None:
    """Leave no room on a disk."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


@pytest.mark.parametrize(
    ("mark", "ends"), [("!*", ""), ("!*", "1"), ("*", "20000"), ("*", "")], ids=["locked", "shut", "over", "open"]
)
def test_an_account_that_a_change_opened_is_afterwards_as_its_owner_had_left_it(
    model: Model, mark: str, ends: str
) -> None:
    model.access(admin("alice"), admin("bob"))
    as_made = model.read("etc/shadow")
    (bob,) = (line for line in as_made.splitlines() if line.startswith("bob:"))
    fields = bob.split(":")
    fields[1], fields[7] = mark, ends
    model.write("etc/shadow", as_made.replace(bob, ":".join(fields)))
    before = model.read("etc/shadow")
    model.access(admin("alice"), admin("bob", key("bob-2")), commit=False)
    model.gate.rollback({"change": "pending"}, {})
    assert model.read("etc/shadow") == before


def test_a_file_that_is_put_back_twice_leaves_nothing_beside_it(model: Model) -> None:
    model.write("root/kept", "as it was")
    for _ in range(2):
        model.gate.put_back("/root/kept", "/etc/ssh/mainstay.txt", 0o644)
    assert model.read("etc/ssh/mainstay.txt") == "as it was"
    assert not list((model.root / "etc").rglob("*.new-*"))


def test_a_change_that_is_not_proven_is_undone_to_the_byte(model: Model) -> None:
    model.access(admin("alice"), account("bob"))
    before = model.files()
    answer = model.access(admin("alice"), account("bob", sudo=True), account("carol"), commit=False)
    assert model.refused(admin("alice"))[0] == "busy"
    assert model.gate.rollback({"change": "pending"}, {})["change"] == answer["change"]
    after = model.files()
    assert "carol:!*:" in model.read("etc/shadow")  # the account stays, shut
    accounts = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid", "ssh/mainstay/state.json")
    for name in (f"etc/{one}" for one in accounts):
        before.pop(name, None)
        after.pop(name, None)
    assert {name: what for name, what in after.items() if not name.startswith("home/carol/")} == before
    assert model.gate.pending() == []
    assert model.access(admin("alice"), account("carol"))["accounts"][1]["accepts"]


def test_the_timer_undoes_a_change_by_itself(model: Model) -> None:
    model.access(admin("alice"))
    answer = model.access(admin("alice"), account("bob"), commit=False)
    model.gate.arm(answer["change"], 0.2)
    deadline = time.monotonic() + 20
    while model.gate.pending() and time.monotonic() < deadline:
        threading.Event().wait(0.1)
    assert not (model.root / "etc/ssh/mainstay/keys/bob").exists()


def test_a_change_whose_timer_died_is_undone_at_the_next_start(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model.access(admin("alice"))
    model.access(admin("alice"), account("bob"), commit=False)
    model.gate.overdue()
    assert model.gate.pending()
    now = time.time()
    monkeypatch.setattr(model.gate.time, "time", lambda: now + 100)
    model.gate.overdue()
    assert not model.gate.pending()


def test_who_left_stays_out_when_the_rest_is_undone(model: Model) -> None:
    model.access(admin("alice"), account("bob"))
    model.access(admin("alice"), account("carol"), gone=("bob",), revoked=(public("bob"),), commit=False)
    model.gate.rollback({"change": "pending"}, {})
    assert not (model.root / "etc/ssh/mainstay/keys/bob").exists()
    assert not (model.root / "etc/ssh/mainstay/keys/carol").exists()
    assert model.revoked("bob")
    assert "bob:!*:" in model.read("etc/shadow")


def test_who_left_is_put_back_when_nobody_else_could_get_in(model: Model) -> None:
    model.access(admin("alice"))
    model.access(admin("bob"), gone=("alice",), revoked=(public("alice"),), commit=False)
    model.gate.rollback({"change": "pending"}, {})
    assert model.read("etc/ssh/mainstay/keys/alice")
    assert "alice:*:" in model.read("etc/shadow")
    assert not model.revoked("alice")


def test_a_committed_change_is_undone_only_by_hand(model: Model) -> None:
    model.access(admin("alice"))
    change = model.access(admin("alice"), account("bob"))["change"]
    with pytest.raises(model.gate.Refusal):
        model.gate.rollback({"change": change}, {})
    assert model.gate.rollback_by_hand([change, "pending"]) == 0
    assert (model.root / "etc/ssh/mainstay/keys/bob").exists()
    assert model.gate.rollback_by_hand([change]) == 0
    assert not (model.root / "etc/ssh/mainstay/keys/bob").exists()


@pytest.mark.parametrize("change", ["../../etc", "", "pending", "x" * 40, "20260101000000-00000000", None, {"a": 1}])
def test_a_change_that_is_not_there_is_neither_kept_nor_undone(model: Model, change: Any) -> None:
    for verb in (model.gate.commit, model.gate.rollback):
        with pytest.raises(model.gate.Refusal):
            verb({"change": change}, {})


def test_killed_anywhere_the_server_is_as_before_or_as_wanted_after_its_timer(model: Model) -> None:
    model.access(admin("alice"), account("bob"))
    model.gate.__dict__["arm"] = lambda *_words: None
    state = wanted(admin("alice"), admin("carol"), account("bob", key("bob", SOON)), mode="enforced")
    names = ("etc/ssh/mainstay/keys/alice", "etc/ssh/mainstay/keys/bob", DROPIN, "etc/sudoers.d/mainstay-alice")
    before = [model.read(name) for name in names]
    for function in ("stage", "settle", "open_account", "snapshot", "guard"):
        for number in range(20):
            died = model.dies(lambda gate: gate.access(state, {}), function, number)
            for change in model.gate.pending():
                model.gate.undo(change)
            if not died:
                break
            assert [model.read(name) for name in names] == before, (function, number)
            assert not model.read("etc/ssh/mainstay/keys/carol")
        assert number
    model.gate.access(state, {})
    assert not [name for name in model.files() if ".new-" in name]


def test_a_full_disk_changes_nothing_and_says_so(small: Model) -> None:
    small.access(admin("alice"), account("bob", key("bob", SOON)))
    fill(small.root)
    code, said = small.refused(admin("alice"), account("bob", key("bob", SOON)), account("carol"))
    assert (code, said.endswith(("changed.", "stays."))) == ("full", True)
    code, _said = small.refused(admin("alice"), account("bob", key("bob", SOON + 60)))
    assert code == "full"
    (small.root / "ballast").unlink()
    assert small.access(admin("alice"), account("bob"), account("carol"))["pending"]


def test_a_change_is_undone_on_a_full_disk(small: Model) -> None:
    small.access(admin("alice"), account("bob", key("bob", SOON)))
    before = small.read("etc/ssh/mainstay/keys/bob"), small.read(DROPIN)
    small.access(admin("alice"), account("bob", key("bob", SOON - 60)), mode="enforced", commit=False)
    fill(small.root)
    small.gate.rollback({"change": "pending"}, {})
    assert (small.read("etc/ssh/mainstay/keys/bob"), small.read(DROPIN)) == before
