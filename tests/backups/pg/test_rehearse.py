"""A copy that is not what was backed up is told, with the thing that differs; a hostile one gets nothing."""

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from apps.backups.facts import EngineTrouble, Manifest
from apps.backups.scratch import jail
from apps.backups.scratch.server import scratch_server
from apps.core.keys import ring_path
from tests.backups.lent import Lent
from tests.backups.pg.kit import ENGINE, climbed, opener, taken, trouble
from tests.servers.postgres import Server

pytestmark = pytest.mark.real
Postgres = Callable[[int], Server]

SHOP = (
    "CREATE TABLE orders (id serial PRIMARY KEY, total int, note text)",
    "INSERT INTO orders (total, note) SELECT g, 'note ' || g FROM generate_series(1, 200) g",
    "CREATE VIEW big AS SELECT * FROM orders WHERE total > 100",
    "CREATE FUNCTION tax(x int) RETURNS int LANGUAGE sql AS 'SELECT x / 5'",
    "CREATE MATERIALIZED VIEW sums AS SELECT sum(total) FROM orders",
    "SELECT lo_from_bytea(4711, 'abc')",
    "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY own ON orders USING (total > 0)",
)


@pytest.mark.parametrize(
    ("change", "rung", "word"),
    [
        ("UPDATE orders SET total = 9999 WHERE id = 7", "correct", "rows of public.orders differ"),
        ("DELETE FROM orders WHERE id = 7", "complete", "199 rows instead of 200"),
        ("UPDATE orders SET note = note || ' ' WHERE id = 7", "correct", "rows of public.orders differ"),
        ("DROP VIEW big", "complete", "big is missing"),
        (
            "CREATE OR REPLACE FUNCTION tax(x int) RETURNS int LANGUAGE sql AS 'SELECT x / 6'",
            "complete",
            "function public.tax(integer) differs",
        ),
        ("SELECT nextval('orders_id_seq')", "complete", "sequence public.orders_id_seq stands at 201"),
        ("REFRESH MATERIALIZED VIEW sums WITH NO DATA", "complete", "public.sums"),
        ("SELECT lo_put(4711, 0, 'x')", "correct", "large objects"),
        ("DROP POLICY own ON orders", "complete", "policy public.orders.own is missing"),
        ("GRANT DELETE ON orders TO pg_monitor", "complete", "public.orders"),
        ("CREATE INDEX extra ON orders (total)", "complete", "index public.extra was not in the dump"),
        ("DROP TABLE orders CASCADE", "complete", "table public.orders is missing"),
        ("ALTER TABLE orders ADD CHECK (total > 0) NOT VALID", "complete", "constraint"),
    ],
)
def test_whatever_changed_is_told(postgres: Postgres, work: Lent, name: str, change: str, rung: str, word: str) -> None:
    server = postgres(17)
    target = server.make(name, *SHOP, "CREATE TABLE other (id int)")
    _, recorded = taken(target, work)
    with server.connect(name) as connection:
        connection.execute(change)
    data, _ = taken(target, work)
    last = climbed(data, recorded, work)[-1]
    assert (last.name, last.ok) == (rung, False)
    assert word in last.said + " ".join(last.log), (last.said, last.log)


def test_one_changed_digit_in_the_archive_is_seen(postgres: Postgres, work: Lent, name: str) -> None:
    target = postgres(17).make(name, *SHOP)
    data, manifest = taken(target, work)
    assert data.count(b"note 123") == 1
    last = climbed(data.replace(b"note 123", b"note 128"), manifest, work)[-1]
    assert (last.name, last.ok) == ("correct", False)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.98])
def test_a_cut_archive_is_neither_readable_nor_restored(postgres: Postgres, work: Lent, name: str, part: float) -> None:
    target = postgres(17).make(
        name, *SHOP, "CREATE TABLE filler AS SELECT md5(g::text) FROM generate_series(1, 5000) g"
    )
    data, manifest = taken(target, work)
    cut = data[: int(len(data) * part)]
    told = trouble(lambda: ENGINE.read(opener(cut), manifest, work))
    assert told.code == "truncated"
    assert not told.untestable
    assert climbed(cut, manifest, work)[-1].ok is False


def test_something_else_than_an_archive_is_told(work: Lent, postgres: Postgres, name: str) -> None:
    _, manifest = taken(postgres(17).make(name, *SHOP), work)
    assert trouble(lambda: ENGINE.read(opener(b"junk" * 1000), manifest, work)).code in {"truncated", "unreadable"}
    assert trouble(lambda: climbed(b"junk" * 1000, manifest, work)).code == "not-an-archive"


def with_facts(manifest: Manifest, **facts: object) -> Manifest:
    """Return a manifest that records something else."""
    return replace(manifest, facts={**manifest.facts, **facts})


def test_what_cannot_be_had_here_is_untestable_and_named(postgres: Postgres, work: Lent, name: str) -> None:
    data, manifest = taken(postgres(16).make(name, *SHOP), work)
    for changed, word in (
        (replace(manifest, version="14.9"), "postgresql-14"),
        (with_facts(manifest, extensions=[["postgis", "3.4", "public"]]), "postgresql-16-postgis"),
        (with_facts(manifest, extensions=[["vector", "0.0.1", "public"]]), "ALTER EXTENSION vector UPDATE"),
        (with_facts(manifest, collations=['"xx_YY.utf8"']), "locales"),
    ):
        told = trouble(lambda changed=changed: climbed(data, changed, work))  # type: ignore[misc]
        assert told.untestable
        assert word in told.sentence
        assert not any(Path(json.loads(where)["folder"]).exists() for _, where in work.left)


def test_an_extension_comes_back_in_its_schema_and_version(postgres: Postgres, work: Lent, name: str) -> None:
    target = postgres(18).make(
        name,
        "CREATE SCHEMA ext",
        "CREATE EXTENSION pg_trgm SCHEMA ext",
        "CREATE EXTENSION hstore",
        "COMMENT ON EXTENSION hstore IS 'ours'",
        "CREATE TABLE t (id int, x text, h hstore)",
        "INSERT INTO t VALUES (1, 'abc', 'a=>1')",
        "CREATE INDEX ON t USING gin (x ext.gin_trgm_ops)",
    )
    data, manifest = taken(target, work)
    assert [(rung.ok, rung.said, rung.log) for rung in climbed(data, manifest, work) if not rung.ok] == []


def test_a_collation_that_is_not_here_is_said_and_does_not_fail(postgres: Postgres, work: Lent, name: str) -> None:
    data, manifest = taken(postgres(17).make(name, *SHOP), work)
    other = {**manifest.facts["locale"], "collate": "xx_YY.UTF-8", "ctype": "xx_YY.UTF-8"}
    rungs = climbed(data, with_facts(manifest, locale=other), work)
    assert rungs[-1].ok
    assert "xx_YY.UTF-8" in rungs[0].figures["collation"]


def attack(key: Path, port: int) -> tuple[str, ...]:
    """Return functions that try every way out of any server but the source, and say what they got in an error."""
    ways = [
        f"COPY loot FROM PROGRAM 'cat {key}'",
        f"COPY loot FROM '{key}'",
        f"INSERT INTO loot SELECT pg_read_file('{key}')",
        f"INSERT INTO loot SELECT convert_from(lo_get(lo_import('{key}')), 'UTF8')",
        f"INSERT INTO loot SELECT x FROM dblink('host=127.0.0.1 port={port} user=postgres', 'SELECT 1') AS d(x text)",
        (
            "INSERT INTO loot SELECT x FROM dblink('user=''mainstay scratch superuser'' "
            "dbname=restored', 'SELECT 1') AS d(x text)"
        ),
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "SET SESSION AUTHORIZATION 'mainstay scratch superuser'",
        "SET ROLE pg_execute_server_program",
        "CREATE EXTENSION file_fdw",
    ]
    tries = "".join(
        f"BEGIN EXECUTE $q${way}$q$; said := said || ' GOT THROUGH {at}'; "
        f"EXCEPTION WHEN OTHERS THEN said := said || ' refused {at}: ' || SQLERRM; END; "
        for at, way in enumerate(ways)
    )
    return (
        "CREATE EXTENSION dblink",
        "CREATE TABLE loot (x text)",
        (
            "CREATE FUNCTION steal(i int) RETURNS bool LANGUAGE plpgsql SET search_path = public AS "
            "$f$ DECLARE said text := 'attack'; BEGIN "
            f"IF current_setting('port') <> '{port}' THEN {tries} RAISE EXCEPTION '% loot: %', said, "
            "(SELECT coalesce(string_agg(x, ' '), '') FROM public.loot); END IF; RETURN true; END $f$"
        ),
        (
            "CREATE FUNCTION lie(i int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN RETURN "
            "public.steal(i); END $f$"
        ),
    )


def test_a_restored_database_that_wants_the_master_key_gets_nothing(postgres: Postgres, work: Lent, name: str) -> None:
    key = ring_path()
    secret = key.read_text(encoding="utf-8")
    assert secret
    server = postgres(17)
    target = server.make(
        name,
        *attack(key, server.port),
        "CREATE TABLE bait (id int CHECK (steal(id)))",
        "INSERT INTO bait VALUES (1)",
        "CREATE TABLE second (id int)",
        "CREATE INDEX ON second ((lie(id)))",
        "INSERT INTO second VALUES (1)",
        "CREATE MATERIALIZED VIEW third AS SELECT steal(1)",
    )
    data, manifest = taken(target, work)
    rungs = climbed(data, manifest, work)
    text = " ".join(line for rung in rungs for line in (*rung.log, rung.said))
    assert text.count("attack refused 0: ") >= 2, text
    assert "GOT THROUGH" not in text
    assert secret[:40] not in text
    loot = [line for rung in rungs for line in rung.log if " loot:" in line]
    assert loot
    assert all(line.rstrip().endswith("loot:") for line in loot), loot
    assert "tried to run a program" in rungs[-1].said
    assert rungs[-1].ok is False


def test_even_the_superuser_of_a_scratch_server_reaches_no_file_process_or_network(
    postgres: Postgres, work: Lent, tmp_path: Path
) -> None:
    key = ring_path()
    outside = postgres(17).port
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, scratch_server(17, work, within=timedelta(hours=1)) as scratch, scratch.connect() as connection:

        def fails(query: str) -> str:
            with pytest.raises(psycopg.Error) as caught:
                connection.execute(query.encode())
            return str(caught.value)

        connection.execute("CREATE TABLE loot (x text)")
        fails(f"COPY loot FROM PROGRAM 'cat {key}'")
        with suppress(psycopg.Error):  # as another user than root the run's folder lies in it: then its name is there
            connection.execute(f"COPY loot FROM PROGRAM 'ls -A {settings.MAINSTAY_DATA}'".encode())
        seen = [row[0] for row in connection.execute("DELETE FROM loot RETURNING x").fetchall()]
        assert seen == [] or (os.geteuid() != 0 and seen == ["pg"])
        fails(f"COPY loot FROM PROGRAM 'cat /proc/1/environ /proc/{scratch.process.pid}/environ'")
        fails(f"SELECT pg_read_file('{key}')")
        fails(f"SELECT lo_import('{key}')")
        fails("COPY loot FROM PROGRAM 'ls /root /home /work /etc/shadow'")
        connection.execute("CREATE EXTENSION dblink")
        said = fails(f"SELECT * FROM dblink('host=127.0.0.1 port={outside} user=postgres', 'SELECT 1') AS d(x int)")
        assert "unreachable" in said or "could not" in said
        connection.execute("COPY loot FROM PROGRAM 'id -u; id -G; env; ls /'")
        got = [row[0] for row in connection.execute("SELECT x FROM loot").fetchall()]
        assert got[0] != "0"
        assert not any("MAINSTAY" in line or "SECRET" in line or "DATABASE_URL" in line for line in got)
        assert connection.execute(
            "SELECT current_setting('listen_addresses'), current_setting('archive_mode')"
        ).fetchone() == ("", "off")
    assert work.left == []
    assert not scratch.folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("major", [15, 18])
def test_where_no_namespace_can_be_had_an_own_user_is_enough(
    postgres: Postgres, work: Lent, name: str, major: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = replace(jail.keeper(), namespaces=False)
    monkeypatch.setattr(jail, "keeper", lambda: alone)
    key = ring_path()
    data, manifest = taken(postgres(major).make(name, *SHOP), work)
    rungs = climbed(data, manifest, work)
    assert [(rung.ok, rung.said, rung.log) for rung in rungs if not rung.ok] == []
    assert "no namespaces" in rungs[0].figures["isolation"]
    with scratch_server(major, work) as scratch, scratch.connect() as connection:
        connection.execute("CREATE TABLE loot (x text)")
        for query in (
            f"COPY loot FROM PROGRAM 'cat {key}'",
            f"COPY loot FROM '{key}'",
            f"SELECT pg_ls_dir('{key.parent}')",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(query.encode())
        connection.execute("COPY loot FROM PROGRAM 'grep -c MAINSTAY /proc/self/environ; id -G; true'")
        got = [row[0] for row in connection.execute("SELECT x FROM loot").fetchall()]
        assert got == ["0", str(alone.gid)]
    assert not scratch.folder.exists()


def test_a_login_trigger_of_a_restored_database_does_not_run_while_it_is_compared(
    postgres: Postgres, work: Lent, name: str
) -> None:
    server = postgres(18)
    target = server.make(
        name,
        *SHOP,
        "CREATE TABLE seen (who text)",
        "CREATE FUNCTION hello() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF current_setting('port') = '5432' THEN "
        "INSERT INTO public.seen VALUES (current_user); END IF; END $$",
        "CREATE EVENT TRIGGER hello ON login EXECUTE FUNCTION hello()",
    )
    data, manifest = taken(target, work)
    last = climbed(data, manifest, work)[-1]
    assert last.ok, (last.said, last.log)


def test_no_room_for_a_restore_is_said_before_it_begins(postgres: Postgres, work: Lent, name: str) -> None:
    data, manifest = taken(postgres(17).make(name, *SHOP), work)
    told = trouble(lambda: climbed(data, replace(manifest, source_bytes=10**15), work))
    assert told.code == "disk-full"
    assert isinstance(told, EngineTrouble)
