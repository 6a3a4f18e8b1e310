"""A shop's database for the benches, made inside the server: orders, lines, events and texts as real ones look.

The sizes, the share of indexes (a quarter) and how well it compresses (to a third with zstd) follow web shops: random
bytes would be too hard and repeated rows too easy to compress.
"""

from pathlib import Path

import psycopg

SHOP = Path(__file__).with_name("shop.sql")
ROWS = {"customers": 190, "products": 20, "orders": 900, "lines": 2600, "events": 850, "reviews": 300}  # of one MB


def fill(connection: psycopg.Connection, size_mb: int) -> int:
    """Fill an empty database up to about `size_mb` (10^6 bytes, indexes included) and return its bytes.

    The same size gives the same rows, but for the random UUIDs.
    """
    rows = {table: max(20, each * size_mb) for table, each in ROWS.items()}
    connection.execute("SET synchronous_commit = off")
    connection.execute("SET maintenance_work_mem = '256MB'")
    connection.execute("SELECT setseed(0.5)")
    for part in SHOP.read_text(encoding="utf-8").split("-----\n"):
        # A part with numbers in it is one statement: the server takes several only without any.
        connection.execute(part.encode(), rows if "%(" in part else None)
    connection.execute("VACUUM ANALYZE")
    row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0
