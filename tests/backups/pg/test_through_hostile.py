"""A server that answers a dump with nonsense: a sentence, in bounded time and memory, and never a backup."""

from types import SimpleNamespace
from typing import Any

import pytest

from apps.backups.engines.pg.address import Address
from apps.backups.engines.pg.through import Through
from apps.backups.facts import EngineTrouble
from apps.servers import ssh
from apps.servers.ssh.rounds import Rounds
from tests.servers.sshd import WHY, missing
from tests.servers.test_ssh import GREET, hostile, server

__all__ = ["hostile", "server"]  # fixtures

pytestmark = [pytest.mark.real, pytest.mark.skipif(missing, reason=WHY)]
BEGIN = (
    GREET
    + """
greet(verbs=["root"]); sys.stdin.readline()
greet(**{"as": "root", "verbs": ["dump"]}); sys.stdin.readline()
def out(kind, data=b""):
    sys.stdout.buffer.write(kind + len(data).to_bytes(4, "big") + data); sys.stdout.buffer.flush()
HELLO = b'{"version": 150000, "pg_dump": "pg_dump (PostgreSQL) 15.1"}'
"""
)
ASKED = BEGIN + "out(b'h', HELLO); sys.stdin.readline()\n"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (BEGIN + "print('nonsense ' * 99)", "malformed"),
        (BEGIN + 'print(json.dumps({"ok": False, "code": "level", "said": "<script>\\x1b[2J"}))', "level"),
        (BEGIN + "out(b'h', b'[1')", "malformed"),
        (BEGIN + "out(b'h', b'{}')", "malformed"),
        (BEGIN + "out(b'q')", "malformed"),
        (
            BEGIN + "sys.stdout.buffer.write(b'd' + b'\\xff' * 4); sys.stdout.buffer.flush(); time.sleep(20)",
            "malformed",
        ),
        (BEGIN + "pass", "connection-lost"),
        (ASKED + "out(b't', b'[\"x\"]'); out(b'q')", "malformed"),
        (ASKED + "out(b't', b'[99999999999999999999999]'); out(b'r', b'[[\"1\"]]'); out(b'q')", "malformed"),
        (ASKED + "out(b't', b'[23]'); out(b'r', b'[[\"one\"]]'); out(b'q')", "malformed"),
        (ASKED + "out(b't', b'[23]'); out(b'r', b'[[\"1\", \"2\"]]'); out(b'q')", "malformed"),
        (ASKED + "out(b't', b'[23]'); out(b'r', b'[7]'); out(b'q')", "malformed"),
        (ASKED + "out(b'r', b'[' * 900000)", "malformed"),
        (ASKED + "out(b'e', b'[]')", "malformed"),
        (ASKED + "out(b'f', b'{}')", "connection-lost"),
    ],
)
def test_nonsense_is_a_sentence(hostile: Any, monkeypatch: pytest.MonkeyPatch, body: str, code: str) -> None:
    one = hostile(body)
    monkeypatch.setattr(ssh, "converse", lambda _row, verb, args: Rounds(one, verb, args))
    where: Any = Address("", 5432, "shop", "postgres", "", "disable", "", SimpleNamespace(name="web-1"))  # type: ignore[arg-type]

    def ask() -> None:
        Through(where, where.through).execute("SELECT 1")

    with pytest.raises(EngineTrouble) as caught:
        ask()
    assert caught.value.code == code, caught.value.sentence
    assert "\x1b" not in caught.value.sentence
