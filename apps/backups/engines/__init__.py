"""How each kind of source is dumped, restored and compared: one explicit table of engines."""

from django.utils.module_loading import import_string

from apps.backups.engines.base import Engine
from apps.backups.facts import EngineTrouble

# By name, because models import `engines.base` for its types long before an engine is needed.
ENGINES = {
    "postgresql": "apps.backups.engines.postgresql.PostgresEngine",
    "sqlite": "apps.backups.engines.sqlite.SqliteEngine",
    "directory": "apps.backups.engines.directory.DirectoryEngine",
}


def engine_of(kind: str) -> Engine:
    """Return the engine of a kind of source. Raises EngineTrouble for one that Mainstay does not know."""
    if kind not in ENGINES:
        raise EngineTrouble(f"Mainstay knows no source of the kind “{kind}”. Nothing was read.")
    engine: Engine = import_string(ENGINES[kind])()
    return engine
