"""The two papers: the steps are followed literally with the standard tools, and the key is proven by a word of it."""

import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from apps.backups import cipher
from apps.backups import services as backups
from apps.backups.models import Backup, RecoveryKey
from apps.core.keys import ring_path, save_ring, the_ring
from apps.people.models import AuditEntry
from tests.backups.factories import World, person, world

pytestmark = pytest.mark.django_db


def follow(text: str, folder: Path, identity: str) -> None:
    """Run each command of the paper as it is printed, in a shell, as a person with the paper would."""
    commands = re.findall(r"^   ((?:cp|echo|umask|age|sqlite3|mkdir|tar|shred) .*)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        typed = identity + "\n" if "cat > key.txt" in command else None
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", command], cwd=folder, input=typed, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stderr)
        if "sha256sum" in command:
            assert done.stdout.endswith(": OK\n")
        if "integrity_check" in command:
            assert done.stdout == "ok\n"


def test_the_printed_steps_bring_a_database_back_with_mainstay_gone(tmp_path: Path) -> None:
    made = world(tmp_path)
    backup = made.back_up()
    steps = backups.recovery_steps(backup)
    shutil.rmtree(made.file.parent)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    follow(steps.text(), folder, backups.recovery_key().identity)
    with sqlite3.connect(folder / "restored.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM things_0").fetchone() == (500,)
    database.close()
    assert not (folder / "key.txt").exists()


def test_the_printed_steps_bring_a_folder_back_with_mainstay_gone(tmp_path: Path) -> None:
    made = world(tmp_path, kind="directory")
    deep = made.file.parent / "it's deep" / "$HOME ünï.txt"
    deep.parent.mkdir()
    deep.write_text("hello")
    backup = made.back_up()
    assert backup.state == "done", backup.error
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    follow(backups.recovery_steps(backup).text(), folder, backups.recovery_key().identity)
    found = list((folder / "restored").rglob("*ünï.txt"))
    assert [path.read_text() for path in found] == ["hello"]


@pytest.fixture
def made(tmp_path: Path) -> World:
    """Return a plan with one backup."""
    made = world(tmp_path)
    made.back_up()
    return made


def test_the_steps_hold_no_secret(made: World) -> None:
    text = backups.recovery_steps(Backup.objects.get()).text()
    assert "AGE-SECRET-KEY-1…" in text
    assert cipher.identity() not in text
    assert Backup.objects.get().sha256 in text
    assert cipher.recipient() in text


def test_the_steps_name_the_bucket_and_the_tools_of_a_postgresql_backup(made: World) -> None:
    backup = Backup.objects.get()
    assert backup.manifest is not None
    backup.manifest |= {"version": "16.4", "facts": {}, "engine": "postgresql"}
    backup.store = made.store
    backup.store.kind, backup.store.config = "s3", {
        "endpoint": "https://s3.example.com", "region": "eu", "bucket": "b'x", "prefix": "p/",
    }  # fmt: skip
    text = backups.recovery_steps(backup).text()
    assert "pg_restore" in text
    assert "postgresql-client-16 or newer" in text
    backup.manifest |= {"tools": {"pg_dump": "18.1"}}
    assert "postgresql-client-18 or newer" in backups.recovery_steps(backup).text(), "an older one cannot read it"
    assert f"""aws s3 cp 's3://b'"'"'x/p/{backup.object_key}'""" in text
    assert "--endpoint-url https://s3.example.com" in text


def test_an_unfinished_backup_has_no_steps(made: World) -> None:
    with pytest.raises(backups.Refused):
        backups.recovery_steps(Backup(plan=made.plan, slot=made.now))


def test_the_recovery_key_is_proven_by_the_asked_word_only(made: World) -> None:
    paper, number = backups.recovery_key(), backups.asked_word(made.owner)
    assert "".join(paper.groups) == cipher.identity().removeprefix("AGE-SECRET-KEY-1")
    assert cipher.identity() not in repr(paper)
    assert 1 <= number < len(paper.groups)
    wrong = paper.groups[number % len(paper.groups)]
    for word in ("", "x", wrong, "ÄÖ"):
        with pytest.raises(backups.Refused, match=f"word {number}"):
            backups.prove_recovery_key(actor=made.owner, word=word, now=made.now)
    assert not backups.key_is_proven()
    backups.prove_recovery_key(actor=made.owner, word=f" {paper.groups[number - 1].lower()} ", now=made.now)
    assert backups.key_is_proven()
    assert RecoveryKey.objects.get().person == made.owner
    entry = AuditEntry.objects.get(verb="backups.recovery_key_proven")
    assert paper.groups[number - 1] not in entry.detail_json


def test_people_are_asked_for_words_of_their_own(made: World) -> None:
    asked = {backups.asked_word(person(f"P{n}")) for n in range(12)}
    assert len(asked) > 1


def test_a_rotated_key_ring_asks_for_the_proof_again(made: World) -> None:
    paper, number = backups.recovery_key(), backups.asked_word(made.owner)
    backups.prove_recovery_key(actor=made.owner, word=paper.groups[number - 1], now=made.now)
    before = the_ring()
    save_ring(before.rotated(), ring_path())
    try:
        assert not backups.key_is_proven()
    finally:
        save_ring(before, ring_path())
    assert backups.key_is_proven()
