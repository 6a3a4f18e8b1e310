"""A dump is whole and exact, or it is not a dump: live writes, rights, lost connections, secrets."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from apps.backups.engines.pg.tools import dump_client
from tests.backups.lent import Lent
from tests.backups.pg.kit import ENGINE, KINDS, climbed, taken, trouble
from tests.servers.postgres import MAJORS, PASSWORD, Server

pytestmark = pytest.mark.real
Postgres = Callable[[int], Server]


@pytest.mark.parametrize("major", MAJORS)
def test_a_restored_copy_equals_the_moment_of_the_dump_while_others_write(
    postgres: Postgres, work: Lent, name: str, major: int
) -> None:
    server = postgres(major)
    target = server.make(
        name,
        "CREATE TABLE a (id bigserial PRIMARY KEY, x text)",
        "CREATE TABLE b (id bigint PRIMARY KEY, n int NOT NULL)",
        "INSERT INTO a (x) SELECT repeat(md5(g::text), 10) FROM generate_series(1, 20000) g",
        "INSERT INTO b SELECT g, 0 FROM generate_series(1, 500) g",
    )
    stop, wrote = threading.Event(), threading.Event()

    def write() -> None:
        with server.connect(name) as connection:
            while not stop.is_set():
                connection.execute("INSERT INTO a (x) VALUES ('new')")
                connection.execute("UPDATE b SET n = n + 1 WHERE id <= 50")
                connection.execute("DELETE FROM a WHERE id % 1000 = 7 AND id < 20000")
                wrote.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert wrote.wait(30)
        data, manifest = taken(target, work)
    finally:
        stop.set()
        writer.join(30)
    rungs = climbed(data, manifest, work)
    assert [(rung.name, rung.ok, rung.said) for rung in rungs if not rung.ok] == []
    assert len(rungs) == 3
    with server.connect(name) as connection:
        row = connection.execute("SELECT sum(n) FROM b").fetchone()
    recorded = {member.name: member for member in manifest.members}
    assert row is not None
    assert row[0] > 0
    assert recorded["public.b"].count == 500


@pytest.mark.parametrize("major", MAJORS)
def test_one_of_every_kind_of_thing_comes_back_exactly(postgres: Postgres, work: Lent, name: str, major: int) -> None:
    server = postgres(major)
    with server.connect() as connection:
        roles = connection.execute("SELECT rolname FROM pg_roles WHERE rolname IN ('app owner', 'reader')").fetchall()
    script = KINDS
    for (role,) in roles:
        script = script.replace(f'CREATE ROLE "{role}" NOLOGIN;', "").replace(f"CREATE ROLE {role} NOLOGIN;", "")
    target = server.make(name, script)
    data, manifest = taken(target, work)
    assert ENGINE.check(target).size
    rungs = climbed(data, manifest, work)
    assert [(rung.name, rung.ok, rung.said, rung.log) for rung in rungs if not rung.ok] == []
    assert [rung.name for rung in rungs] == ["restored", "complete", "correct"]
    assert rungs[1].figures["rows"] == sum(member.count for member in manifest.members) > 800


def test_row_level_security_is_refused_and_not_half_dumped(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(17)
    server.make(
        name,
        f"CREATE ROLE {name} LOGIN PASSWORD 'x'",
        "CREATE TABLE t (id int, own bool)",
        "INSERT INTO t SELECT g, g % 2 = 0 FROM generate_series(1, 100) g",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON t USING (own)",
        f"GRANT SELECT ON t TO {name}",
    )
    target = server.target(name, user=name, password="x")
    for told in (trouble(lambda: ENGINE.check(target)), trouble(lambda: taken(target, work))):
        assert told.code == "row-security"
        assert "public.t" in told.sentence
        assert "BYPASSRLS" in told.sentence


def test_a_table_without_read_rights_is_named(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(16)
    server.make(
        name,
        f"CREATE ROLE {name} LOGIN PASSWORD 'x'",
        "CREATE TABLE open (id int)",
        'CREATE TABLE "closed one" (id int)',
        f"GRANT SELECT ON open TO {name}",
    )
    told = trouble(lambda: taken(server.target(name, user=name, password="x"), work))
    assert told.code == "no-rights"
    assert 'public."closed one"' in told.sentence
    assert "public.open" not in told.sentence


def test_a_schema_that_the_user_cannot_enter_is_not_left_out_in_silence(
    postgres: Postgres, work: Lent, name: str
) -> None:
    server = postgres(15)
    server.make(
        name,
        f"CREATE ROLE {name} LOGIN PASSWORD 'x'",
        "CREATE TABLE a (id int)",
        "CREATE SCHEMA hidden",
        "CREATE TABLE hidden.b (id int)",
        f"GRANT SELECT ON a, hidden.b TO {name}",
    )
    told = trouble(lambda: taken(server.target(name, user=name, password="x"), work))
    assert told.code == "no-rights"
    assert "hidden.b" in told.sentence


def test_a_reader_of_all_data_makes_a_whole_dump(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(17)
    server.make(
        name,
        f"CREATE ROLE {name} LOGIN PASSWORD 'x'",
        f"GRANT pg_read_all_data TO {name}",
        "CREATE SCHEMA hidden",
        "CREATE TABLE hidden.b (id serial)",
        "INSERT INTO hidden.b SELECT FROM generate_series(1, 9)",
    )
    data, manifest = taken(server.target(name, user=name, password="x"), work)
    assert [rung.ok for rung in climbed(data, manifest, work)] == [True, True, True]
    assert manifest.members[0].count == 9


def test_a_connection_that_is_lost_in_the_middle_leaves_no_dump(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(18)
    target = server.make(
        name,
        "CREATE TABLE t (x text)",
        "ALTER TABLE t ALTER x SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT repeat('x', 100000) FROM generate_series(1, 300)",
    )

    def kill() -> None:
        with server.connect() as connection:
            killed = connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = "
                "%s AND query LIKE 'COPY%%'",
                (name,),
            ).fetchall()
        assert killed == [(True,)]

    told = trouble(lambda: taken(target, work, meanwhile=kill))
    assert told.code == "connection-lost"
    assert not told.permanent
    assert "does not count" in told.sentence


def test_an_empty_database_is_flagged_before_and_refused_then(postgres: Postgres, work: Lent, name: str) -> None:
    target = postgres(17).make(name)
    assert any("no tables" in warning for warning in ENGINE.check(target).warnings)
    told = trouble(lambda: taken(target, work))
    assert told.code == "empty"
    assert name in told.sentence


def test_a_dump_that_was_not_read_to_its_end_does_not_count(postgres: Postgres, work: Lent, name: str) -> None:
    target = postgres(17).make(name, "CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 9000)")
    with ENGINE.dump(target, work) as dump:
        dump.stream.read(10)
        assert trouble(dump.finish).code == "incomplete"


def test_the_password_stands_in_no_process_list_and_no_environment(postgres: Postgres, work: Lent, name: str) -> None:
    target = postgres(18).make(name, "CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
    with ENGINE.dump(target, work) as dump:
        dump.stream.read(10)
        found = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if b"pg_dump" in text and name.encode() in text:
                found += 1
                assert PASSWORD.encode() not in text
        assert found == 1
    assert PASSWORD not in repr(target)


def test_nothing_of_a_dump_is_left_when_the_block_is_left_early(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(17)
    target = server.make(name, "CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 20000)")

    def interrupted() -> None:
        with ENGINE.dump(target, work) as dump:
            dump.stream.read(10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with server.connect() as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_what_changes_its_shape_waits_until_the_manifest_is_taken(postgres: Postgres, work: Lent, name: str) -> None:
    server = postgres(17)
    target = server.make(name, "CREATE TABLE t AS SELECT g FROM generate_series(1, 100) g")

    def truncate() -> None:
        with (
            server.connect(name, options="-c lock_timeout=200ms") as connection,
            pytest.raises(psycopg.errors.LockNotAvailable),
        ):
            connection.execute("TRUNCATE t")

    _, manifest = taken(target, work, meanwhile=truncate)
    assert manifest.members[0].count == 100


def test_two_thousand_tables_are_not_thousands_of_questions(
    postgres: Postgres, work: Lent, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = postgres(17).make(
        name,
        "DO $$ BEGIN FOR i IN 1..2000 LOOP EXECUTE format('CREATE TABLE t%s (id serial PRIMARY "
        "KEY)', i); IF i % 200 = 0 THEN COMMIT; "
        "END IF; END LOOP; END $$",
    )
    asked: list[str] = []
    execute = psycopg.Connection.execute

    def counted(self: psycopg.Connection, query: Any, *more: Any, **also: Any) -> Any:
        asked.append(str(query))
        return execute(self, query, *more, **also)

    monkeypatch.setattr(psycopg.Connection, "execute", counted)
    _, manifest = taken(target, work)
    assert len(manifest.members) == 2000
    assert len(asked) < 400


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"password": "wrong"}, "password"),
        ({"database": "nowhere"}, "no-database"),
        ({"user": "nobody here"}, "password"),
        ({"port": 1}, "refused"),
        ({"host": "no-such-host.invalid"}, "dns"),
        ({"host": "/nowhere"}, "refused"),
        ({"sslmode": "require"}, "tls-refused"),
        ({"sslmode": "prefer"}, "address"),
        ({"port": "x"}, "address"),
        ({"ca": "junk"}, "address"),
    ],
)
def test_every_way_not_to_reach_it_has_a_sentence(postgres: Postgres, change: dict[str, object], code: str) -> None:
    password = str(change.pop("password", PASSWORD))
    target = postgres(17).target(**{"database": "postgres", **change}, password=password)  # type: ignore[arg-type]
    told = trouble(lambda: ENGINE.check(target))
    assert told.code == code, told.log
    assert password not in str(told.log) + told.sentence
    assert ENGINE.identity(target) == ""


def test_a_server_newer_than_every_client_or_too_old_is_named() -> None:
    assert "postgresql-client-19" in trouble(lambda: dump_client(19)).sentence
    assert "older than 12" in trouble(lambda: dump_client(11)).sentence
    assert dump_client(12).major >= 18
