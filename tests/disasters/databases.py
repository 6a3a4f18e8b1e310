"""Disasters of PostgreSQL databases: the wrong one, the limited role, damaged, standby, restored over something."""

import shutil
import signal
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import psycopg

from apps.backups import services as backups
from apps.backups.engines.base import Target
from apps.backups.models import Backup, Restore
from tests.backups.factories import World
from tests.disasters.registry import case
from tests.disasters.scene import Scene, newer, reconfigure, resecret
from tests.servers.postgres import Server, server

SHOP = (
    "CREATE TABLE customers (id int PRIMARY KEY, name text)",
    "INSERT INTO customers SELECT n, 'name ' || n FROM generate_series(1, 800) n",
    "CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, paid numeric)",
    "INSERT INTO orders (customer, paid) SELECT 1 + n % 800, n / 7.0 FROM generate_series(1, 900) n",
    "CREATE MATERIALIZED VIEW turnover AS SELECT customer, sum(paid) FROM orders GROUP BY 1",
)


def shop(scene: Scene, *more: str, on: Server | None = None) -> tuple[Server, Target]:
    """Make a database with a little shop."""
    running = on or scene.servers.postgres()
    return running, running.make(scene.word, *SHOP, *more)


def limited(scene: Scene, running: Server, database: str, *grants: str) -> tuple[str, str]:
    """Make a role that may sign in and do no more than the grants say; returns its name and password."""
    role = scene.word
    with running.connect(database) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'let me in'".encode())
        for grant in grants:
            connection.execute(f"{grant} TO {role}".encode())
    return role, "let me in"


def proven(scene: Scene, made: World) -> list[str]:
    """Take a backup, prove it if there is one, and return what people hear."""
    run = made.back_up()
    while run.state == "waiting":  # tried again by itself
        made.clock.at = run.due_at
        backups.perform(run.pk, clock=made.clock)
        run.refresh_from_db()
    made.reload()
    if run.state == "done":
        made.prove()
    return scene.told(made)


@case("D32-rights", "the user of the dump may not read a table", mechanism="survey before the dump", needs="postgres",
      cause="may not read public.orders", step="grant it")  # fmt: skip
def no_read_right(scene: Scene) -> list[str]:
    running, target = shop(scene)
    table = "customers" if scene.broken else "ALL TABLES IN SCHEMA public"
    grants = [f"GRANT SELECT ON {table}", *([] if scene.broken else ["GRANT SELECT ON ALL SEQUENCES IN SCHEMA public"])]
    user, password = limited(scene, running, target.config["database"], *grants)
    return proven(scene, scene.world(running.target(target.config["database"], user=user, password=password)))


@case("D32-rls", "row-level security hides rows from the user of the dump", mechanism="survey before the dump",
      needs="postgres", cause="row-level security hides rows of public.orders", step="bypassrls")  # fmt: skip
def row_security(scene: Scene) -> list[str]:
    running, target = shop(scene, "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
                           "CREATE POLICY few ON orders USING (id < 100)")  # fmt: skip
    user, password = limited(scene, running, target.config["database"], "GRANT pg_read_all_data")
    if not scene.broken:
        with running.connect() as connection:
            connection.execute(f"ALTER ROLE {user} BYPASSRLS".encode())
    return proven(scene, scene.world(running.target(target.config["database"], user=user, password=password)))


@case("D36-empty", "the plan reads an empty database", mechanism="an empty source is refused", needs="postgres",
      cause="has no tables", step="check that it is the right database")  # fmt: skip
def empty_database(scene: Scene) -> list[str]:
    running, target = shop(scene)
    made = scene.world(target)
    made.proven()
    if scene.broken:
        reconfigure(made, database=running.make(scene.word).config["database"])
    newer(made)
    return scene.told(made)


@case("D36-server", "another server answers under the same name", mechanism="system identifier against the last proof",
      needs="postgres", cause="another database server .* system identifier", step="check that")  # fmt: skip
def another_server(scene: Scene) -> list[str]:
    _, target = shop(scene)
    made = scene.world(target)
    made.proven()
    if scene.broken:
        other = scene.servers.postgres(16)
        with other.connect() as connection:
            connection.execute(f'CREATE DATABASE "{target.config["database"]}" TEMPLATE template0'.encode())
        with other.connect(target.config["database"]) as connection:
            for statement in SHOP:
                connection.execute(statement.encode())
        reconfigure(made, port=other.port)
    newer(made)
    return scene.told(made)


@case("emptied-pg", "a table was truncated since the last proof", mechanism="each table against the last proven record",
      needs="postgres", cause="public.orders is empty, and held rows", step="restore the last proven")  # fmt: skip
def truncated(scene: Scene) -> list[str]:
    running, target = shop(scene)
    made = scene.world(target)
    made.proven()
    with running.connect(target.config["database"]) as connection:
        connection.execute(b"TRUNCATE orders" if scene.broken else b"DELETE FROM orders WHERE id % 9 = 0")
    newer(made)
    return scene.told(made)


@case("D37-extension", "the backup needs an extension that is not here", mechanism="unproven, naming the package",
      needs="postgres", cause="needs the extension", step="install the package")  # fmt: skip
def missing_extension(scene: Scene) -> list[str]:
    _, target = shop(scene, "CREATE EXTENSION pg_trgm")
    made = scene.world(target)
    backup = made.back_up()
    if scene.broken:
        assert backup.manifest is not None
        backup.manifest["facts"]["extensions"].append(["postgis", "3.4.2", "public"])
        Backup.objects.filter(pk=backup.pk).update(manifest=backup.manifest)
    made.prove()
    return scene.told(made)


@case("D37-sequence", "a sequence stands elsewhere in the copy", mechanism="restore test against the record",
      needs="postgres", cause='failed at "complete".*orders_id_seq stands', step="mend")  # fmt: skip
def sequence_behind(scene: Scene) -> list[str]:
    _, target = shop(scene)
    made = scene.world(target)
    backup = made.back_up()
    if scene.broken:
        assert backup.manifest is not None
        backup.manifest["facts"]["sequences"][0][1] += 50
        Backup.objects.filter(pk=backup.pk).update(manifest=backup.manifest)
    made.prove()
    return scene.told(made)


@case("D37-view", "a view is missing in the copy", mechanism="restore test against the record", needs="postgres",
      cause='failed at "complete".*missing', step="mend the cause")  # fmt: skip
def view_missing(scene: Scene) -> list[str]:
    _, target = shop(scene, "CREATE VIEW paid AS SELECT id FROM orders WHERE paid > 0")
    made = scene.world(target)
    backup = made.back_up()
    if scene.broken:
        assert backup.manifest is not None
        catalogue = backup.manifest["facts"]["catalogue"]
        kind = next(kind for kind in catalogue if any("paid" in str(name) for name in catalogue[kind]))
        name = next(name for name in catalogue[kind] if "paid" in str(name))
        if isinstance(catalogue[kind], dict):
            catalogue[kind]["public.payed_more"] = catalogue[kind][name]
        else:
            catalogue[kind].append(name.replace("paid", "payed_more") if isinstance(name, str) else ["payed_more"])
        Backup.objects.filter(pk=backup.pk).update(manifest=backup.manifest)
    made.prove()
    return scene.told(made)


def stopped(stack: ExitStack, running: Server) -> Path:
    """Stop a server as an administrator would, and return a copy of its data."""
    running.process.send_signal(signal.SIGINT)
    running.process.wait(30)
    copy = running.folder / "copy"
    subprocess.run(["/bin/cp", "-a", str(running.folder / "data"), str(copy)], check=True)
    stack.callback(shutil.rmtree, copy, ignore_errors=True)
    return copy


@case("D39", "an index is damaged on the source's disk", mechanism="the damaged pages that the source counts",
      needs="postgres", cause="counts .* damaged pages", step="check the disk")  # fmt: skip
def damaged_index(scene: Scene) -> list[str]:
    with ExitStack() as stack:
        first = stack.enter_context(server(18))
        _, target = shop(scene, "CREATE INDEX orders_by ON orders (customer, id)", on=first)
        database = target.config["database"]
        with first.connect(database) as connection:
            (path,) = connection.execute("SELECT pg_relation_filepath('orders_by')").fetchone() or ("",)
        copy = stopped(stack, first)
        if scene.broken:
            with (copy / path).open("r+b") as file:
                file.seek(8192 + 7000 + scene.random.randrange(200))
                file.write(b"\xff" * 400)
        again = stack.enter_context(server(18, data=copy))
        with again.connect(database) as connection, suppress(psycopg.Error):  # the application meets it, or not
            connection.execute("SET enable_seqscan = off")
            connection.execute("SELECT count(*) FROM orders WHERE customer BETWEEN 1 AND 799")
        with again.connect(database) as connection:
            connection.execute("SELECT pg_stat_force_next_flush()")
        return proven(scene, scene.world(again.target(database)))


@case("D07", "the source is a standby whose primary is gone", mechanism="what the dump says of its source",
      needs="postgres", cause="standby that hears nothing", step="mend the replication")  # fmt: skip
def cut_off_standby(scene: Scene) -> list[str]:
    with ExitStack() as stack:
        first = stack.enter_context(server(15))
        target = first.make(scene.word, *SHOP)
        copy = stopped(stack, first)
        if scene.broken:
            (copy / "standby.signal").touch()
        again = stack.enter_context(server(15, data=copy))
        return proven(scene, scene.world(again.target(target.config["database"])))


@case("rotated-pg", "the database's password was changed elsewhere", mechanism="a failed run is told at once",
      needs="postgres", cause="failed: .*password", step="check|correct|enter|change")  # fmt: skip
def password_changed(scene: Scene) -> list[str]:
    _, target = shop(scene)
    made = scene.world(target)
    made.proven()
    if scene.broken:
        resecret(made.source, password="not any more")
    newer(made)
    return scene.told(made)


@case("dropped-pg", "the database was dropped", mechanism="a failed run is told at once", needs="postgres",
      cause="failed: .*(does not exist|no database)", step="check|name|look|restore")  # fmt: skip
def database_dropped(scene: Scene) -> list[str]:
    running, target = shop(scene)
    made = scene.world(target)
    made.proven()
    if scene.broken:
        with running.connect() as connection:
            connection.execute(f'DROP DATABASE "{target.config["database"]}"'.encode())
    newer(made)
    return scene.told(made)


def restored(scene: Scene, made: World, into: Target) -> list[str]:
    """Ask for a restore into a place, do it, and return what people hear."""
    backup = made.proven()
    asked = backups.ask_restore(actor=made.owner, backup=backup, target=into, now=made.clock.on(seconds=1))
    backups.restore(asked.pk, clock=made.clock)
    scene.say(Restore.objects.get(pk=asked.pk).error)
    return scene.told(made)


@case("D10-live", "a restore is pointed at the live database", mechanism="a restore refuses its own source",
      needs="postgres", cause="that is the source itself", step="name a new, empty database")  # fmt: skip
def restore_over_live(scene: Scene) -> list[str]:
    running, target = shop(scene)
    into = target if scene.broken else running.make(scene.word)
    return restored(scene, scene.world(target), into)


@case("D10-other", "a restore is pointed at a database in use", mechanism="a restore takes only an empty database",
      needs="postgres", cause="not empty|holds|has .* tables", step="new, empty|empty database|name")  # fmt: skip
def restore_over_other(scene: Scene) -> list[str]:
    running, target = shop(scene)
    into = running.make(scene.word, *(["CREATE TABLE precious (id int)"] if scene.broken else []))
    return restored(scene, scene.world(target), into)


@case("D46", "the restored database reaches for the world (a trigger that runs a program)",
      mechanism="restores run as a plain role in a jail", needs="postgres",
      cause='restore test .* failed at "restored"', step="mend the cause")  # fmt: skip
def drill_harms_production(scene: Scene) -> list[str]:
    marker = Path("/tmp") / scene.word
    inner = f"COPY (SELECT 1) TO PROGRAM 'touch {marker}';" if scene.broken else ""
    _, target = shop(
        scene,
        "CREATE FUNCTION mail(i int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN "
        f"IF current_setting('port') <> '{scene.servers.postgres().port}' THEN {inner} END IF; RETURN true; END $$",
        "CREATE TABLE outbox (id int CHECK (mail(id)))",
        "INSERT INTO outbox VALUES (1)",
    )
    heard = proven(scene, scene.world(target))
    assert not marker.exists(), "the test ran a program"
    return heard
