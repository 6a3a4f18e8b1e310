"""What a good dump must tell a person of its source: a standby that hears nothing, damaged pages."""

from datetime import datetime, timedelta

import psycopg

SOURCE = "backups.source"  # one of problems.py
SILENT = timedelta(hours=1)  # a standby that replayed nothing for so long and receives nothing is cut off
_STANDBY = "SELECT pg_is_in_recovery(), pg_last_xact_replay_timestamp(), (SELECT count(*) FROM pg_stat_wal_receiver)"
_DAMAGED = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"


def told(connection: psycopg.Connection, now: datetime) -> list[tuple[str, str, str]]:
    """Return (code, what is so, what to do) of the source. Changes nothing there; what may not be asked is left out.

    Indexes are not checked with amcheck: garbage in one can crash the server of the source (seen with PostgreSQL 15).
    """
    found = []
    for look in (_standby, _damaged_pages):
        connection.execute("SAVEPOINT told")
        try:
            found += look(connection, now)
        except psycopg.errors.InsufficientPrivilege:
            pass
        finally:
            if not connection.closed:
                connection.execute("ROLLBACK TO SAVEPOINT told")
    return found


def _standby(connection: psycopg.Connection, now: datetime) -> list[tuple[str, str, str]]:
    row = connection.execute(_STANDBY).fetchone()
    if row is None or not row[0]:
        return []
    replayed, receivers = row[1], row[2]
    if receivers or (replayed is not None and now - replayed < SILENT):
        return []
    age = f"Its data are of {replayed:%d %b %Y %H:%M} UTC" if replayed else "Nobody knows how old its data are"
    said = f"The source is a standby that hears nothing from its primary. {age}, whatever the backup's date says."
    return [(SOURCE, said, "Mend the replication, or back up the primary.")]


def _damaged_pages(connection: psycopg.Connection, _now: datetime) -> list[tuple[str, str, str]]:
    row = connection.execute(_DAMAGED).fetchone()
    if row is None or not row[0]:
        return []
    said = f"The server counts {row[0]:,} damaged pages in this database (wrong checksums): its disk or memory fails."
    todo = "Keep earlier backups, see the server's log for the tables, check the disk, then pg_stat_reset()."
    return [(SOURCE, said, todo)]
