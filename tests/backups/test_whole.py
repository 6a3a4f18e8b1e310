"""The whole way of a PostgreSQL plan: a real server, a real bucket, the ladder to its top, and the paper by hand."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from apps.backups import services as backups
from apps.backups.engines.pg.tools import restore_client
from apps.backups.facts import RUNGS
from apps.backups.models import Leftover
from tests.backups.factories import APART, DAILY, Clock, World, person
from tests.backups.own_key import have_identity
from tests.servers.postgres import PASSWORD, Server, server
from tests.servers.s3 import S3Server

pytestmark = [pytest.mark.django_db, pytest.mark.real]

SHOP = (
    "CREATE ROLE clerk NOLOGIN",
    "CREATE EXTENSION pgcrypto",
    "CREATE TABLE customer (id serial PRIMARY KEY, name text NOT NULL, joined timestamptz DEFAULT now())",
    "INSERT INTO customer (name) SELECT 'customer ' || n FROM generate_series(1, 3000) n",
    "CREATE VIEW recent AS SELECT * FROM customer WHERE joined > now() - interval '7 days'",
    "ALTER TABLE customer OWNER TO clerk",
)


def plan_of(shop: Server, bucket: str, s3: S3Server, folder: Path) -> World:
    """Make a plan of the shop's database into a bucket."""
    have_identity()
    clock, owner = Clock(), person()
    target = shop.make("shop", *SHOP, "ALTER DATABASE shop SET search_path = public, pg_catalog")
    place = s3.place(bucket)
    source = backups.add_source(
        actor=owner,
        name="Shop",
        kind="postgresql",
        config=dict(target.config),
        secret=dict(target.secret),
        domain=APART[0],
        now=clock.at,
    )
    store = backups.add_store(
        actor=owner,
        name="Bucket",
        kind="s3",
        config=dict(place.config),
        secret=dict(place.secret),
        domain=APART[1],
        now=clock.at,
    )
    spec = backups.PlanSpec(name="Shop", source=source, store=store, owner=owner, schedule=DAILY, time_zone="UTC")
    made = backups.plan(actor=owner, spec=spec, now=clock.at)
    return World(folder, clock, owner, source, store, made, folder)


def test_a_database_goes_to_a_bucket_is_proven_to_the_top_and_comes_back_by_the_paper_alone(
    s3: S3Server, tmp_path: Path
) -> None:
    bucket = s3.bucket()
    with server(17) as shop:
        world = plan_of(shop, bucket, s3, tmp_path)
        backup = world.back_up()
        assert (backup.state, backup.error) == ("done", "")
        test = world.prove()
        assert test.verdict == "proven", test.said
        assert [rung["name"] for rung in test.rungs] == list(RUNGS)
        assert all(rung["ok"] for rung in test.rungs)
        assert ["public.customer", 3000, 3000, True] in test.compared
        assert test.restore_seconds
        assert not Leftover.objects.filter(removed_at=None).exists()

        # Mainstay gone: what follows uses the printed text, the key, and standard programs
        client = restore_client(str((backup.manifest or {})["tools"]["pg_dump"]))
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        file = backup.object_key.rsplit("/", 1)[-1]
        s3.client().download_file(bucket, backup.object_key, str(elsewhere / file))
        with shop.connect() as connection:  # the new server has neither the database nor its role
            connection.execute("DROP DATABASE shop")
            connection.execute("DROP ROLE clerk")
        text = backups.recovery_steps(backup).text()
        assert "awscli" in text
        commands = re.findall(r"^   ((?:echo|umask|age|psql|createdb|pg_restore|shred) .*)$", text, re.MULTILINE)
        assert [command.split()[0] for command in commands[-4:]] == ["createdb", "pg_restore", "psql", "shred"]
        programs = client.bin
        env = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(shop.port),
            "PGUSER": "postgres",
            "PGPASSWORD": PASSWORD,
        }
        for command in commands:
            typed = backups.recovery_key().identity + "\n" if "cat > key.txt" in command else None
            done = subprocess.run(
                ["/bin/sh", "-e", "-c", command],
                cwd=elsewhere,
                input=typed,
                capture_output=True,
                text=True,
                check=False,
                env=env,
            )
            assert done.returncode == 0, (command, done.stderr)
            assert not done.stderr or command.startswith(("age", "pg_restore")), (command, done.stderr)
        with shop.connect("restored") as connection:
            assert connection.execute("SELECT count(*) FROM customer").fetchone() == (3000,)
            assert connection.execute("SHOW search_path").fetchone() == ("public, pg_catalog",)
            owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'customer'"
            assert connection.execute(owner).fetchone() == ("clerk",)
