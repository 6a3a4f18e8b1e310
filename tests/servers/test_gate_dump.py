"""The gate's dumps under attack: which questions it asks a database, for whom, and that nothing else can be reached."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from apps.backups.engines.pg import catalogue, manifest, survey, told
from apps.servers import ssh
from apps.servers.gate.dump import harmless, quoted
from apps.servers.gate.gate import Refusal
from apps.servers.gate.script import gate_text, part_text
from apps.servers.ssh import Trouble
from tests.backups.pg.gated import Gated
from tests.fleet.fleet import Fleet

OURS = [
    *catalogue.QUERIES.values(),
    *(
        text
        for room in (survey, manifest, told)
        for text in vars(room).values()
        if isinstance(text, str) and text.lstrip().startswith("SELECT")
    ),
    manifest.row_hash(survey.Table("s'x", 'a\\b"c$;--', "", 1, ("a", "lo_export("), extension=False), 1).as_string(
        None
    ),
]
HOSTILE = [
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_catalog . lo_export (1, '/tmp/x')",
    "SELECT \"lo_export\"(1, '/tmp/x')",
    "SELECT DISTINCT\"lo_export\"(1, '/tmp/x')",
    "SELECT lo_export\n(1, '/tmp/x')",
    "SELECT lo_export/**/(1, '/tmp/x')",
    "SELECT 1; DROP TABLE a",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "SELECT 1 INTO x; --",
    "WITH x AS (DELETE FROM a RETURNING 1) SELECT 1",
    "SELECT set_config('role', 'none', false)",
    "SELECT $$a$$, pg_sleep(9)",
    "SELECT 'a\\', pg_sleep(9), '",
    "SELECT E'\\', pg_sleep(9), E'\\'",
    "SELECT 1e'\\', ', pg_sleep(9), '",
    "SELECT \u20ace'\\', ', pg_sleep(9), '",
    "SELECT U&'!0041' UESCAPE '!'",
    'SELECT U&"\\0070g_sleep"(9)',
    "SELECT query_to_xml('select 1', true, true, '')",
    "SELECT 1 OPERATOR(public.+) 2",
    "DO 'x'",
    "SET ROLE postgres",
    "SELECT 1 \x00",
    "",
    7,
    None,
    {"a": 1},
]


@pytest.mark.parametrize("question", OURS)
def test_every_question_of_the_manifest_may_be_asked(question: str) -> None:
    assert harmless(question) == question.encode()


@pytest.mark.parametrize("question", HOSTILE)
def test_a_question_that_could_do_more_than_look_is_refused(question: Any) -> None:
    with pytest.raises(Refusal, match="no such question"):
        harmless(question)


@pytest.mark.parametrize("name", [7, None, "a\0b", "a" * 300, ["a"]])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(Refusal):
        quoted(name)
    assert quoted('a"; b') == '"a""; b"'


def test_what_is_installed_at_operate_stays_short_enough_to_read() -> None:
    assert len(gate_text().splitlines()) + len(part_text("dump").splitlines()) < 1000
    assert "libpq" not in gate_text()


@pytest.fixture(scope="module")
def machine(fleet: Fleet) -> Iterator[Gated]:
    with fleet.lend(1, "postgresql") as lent:
        yield Gated(lent[0])


def said(gated: Gated, *wishes: dict[str, Any], **changed: Any) -> list[str]:
    """Begin a dump, wish for some things in turn, and return the letters of what came."""
    args = {"host": "", "port": "5432", "database": "postgres", "user": "postgres", "password": "", "settings": {}}
    rounds = ssh.converse(gated.row, "dump", {**args, **changed})
    try:
        came = [kind.decode() for kind, _ in rounds.ask()]
        for wish in wishes:
            came += [kind.decode() for kind, _ in rounds.ask(**wish)]
        return came
    finally:
        rounds.close()


@pytest.mark.real
@pytest.mark.django_db
def test_a_real_gate_looks_and_does_nothing_else(machine: Gated) -> None:
    gated = machine.known()
    gated.sql("postgres", "CREATE TABLE IF NOT EXISTS kept (x int)", "TRUNCATE kept", "INSERT INTO kept VALUES (1)")
    assert said(gated, {"question": "SELECT x FROM public.kept"}) == list("htrq")
    assert said(gated, {"question": "SELECT x FROM public.gone"}, {"question": "SELECT 1"}) == list("hetrq")
    assert said(gated, {"lock": [["public", "kept"]]}) == list("hq")
    for wish in (
        {"question": "SELECT pg_read_file('/etc/passwd')"},
        {"question": "SELECT 1; DROP TABLE kept"},
        {"lock": [["public", 'kept" IN SHARE MODE; DROP TABLE kept; --', "c"]], "dump": True},
        {"program": "id"},
        {"dump": "id; true"},
        {"at": 7, "question": "SELECT 1"},
    ):
        with pytest.raises(Trouble) as caught:
            said(gated, wish)
        assert caught.value.code in {"refused", "malformed"}, (wish, caught.value.said)
    assert said(gated, {"lock": [["public", 'kept"; DROP TABLE kept; --']]}) == list("he")
    for changed in (
        {"host": "example.com"},
        {"host": "127.0.0.1,example.com"},
        {"host": "/tmp,example.com"},
        {"port": "5432 host=example.com"},
        {"user": "root"},
        {"user": "postgres\nx"},
        {"database": 7},
        {"settings": {"x'); DROP TABLE kept; --": 1}},
        {"more": "x"},
    ):
        with pytest.raises(Trouble) as caught:
            said(gated, **changed)
        assert caught.value.code in {"refused", "malformed", "account", "connect"}, (changed, caught.value.said)
    with pytest.raises(Trouble) as caught:
        said(gated, database="host=example.com dbname=postgres")
    assert "does not exist" in caught.value.said
    assert gated.sql("postgres", "SELECT x FROM kept") == "1"
    assert gated.calm() == ""
    log = gated.server.inside("cat /var/log/mainstay/gate.log").out
    assert " dump " in log


@pytest.mark.real
@pytest.mark.django_db
def test_a_wish_that_is_not_signed_for_this_conversation_and_this_turn_ends_it(machine: Gated) -> None:
    gated = machine.known()
    args = {"host": "", "port": "5432", "database": "postgres", "user": "postgres", "password": "", "settings": {}}
    for spoil in ("again", "unsigned", "other"):
        rounds = ssh.converse(gated.row, "dump", args)
        try:
            list(rounds.ask())
            line = rounds._sign({"at": 1, "question": "SELECT 1"})
            if spoil == "again":
                assert [kind for kind, _ in rounds.ask(question="SELECT 1")] == [b"t", b"r", b"q"]
            elif spoil == "unsigned":
                line = (
                    json.dumps({**json.loads(line), "signature": json.loads(line)["signature"][::-1]}).encode() + b"\n"
                )
            else:
                line = line.replace(b"SELECT 1", b"SELECT 2")
            rounds._wait(rounds._send(line))
            with pytest.raises(Trouble) as caught:
                list(rounds.ask())
            assert caught.value.code in {"malformed", "signature"}
        finally:
            rounds.close()
    assert gated.calm() == ""
