"""How each kind of source is dumped, restored and compared: one explicit table of engines."""

from apps.backups.engines.base import Engine
from apps.backups.facts import EngineTrouble


def engine_of(kind: str) -> Engine:
    """Return the engine of a kind of source. Raises EngineTrouble for one that Mainstay does not know."""
    # Imported here, because models import `engines.base` for its types long before an engine is needed.
    from apps.backups.engines.directory import DirectoryEngine  # noqa: PLC0415
    from apps.backups.engines.postgresql import PostgresEngine  # noqa: PLC0415
    from apps.backups.engines.sqlite import SqliteEngine  # noqa: PLC0415

    engines: dict[str, type[Engine]] = {
        "postgresql": PostgresEngine,
        "sqlite": SqliteEngine,
        "directory": DirectoryEngine,
    }
    try:
        return engines[kind]()
    except KeyError as error:
        raise EngineTrouble(f"Mainstay knows no source of the kind “{kind}”. Nothing was read.") from error


engine_for = engine_of
