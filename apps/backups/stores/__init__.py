"""Where backups are kept: one explicit table of adapters."""

from collections.abc import Callable

from apps.backups.facts import StoreTrouble
from apps.backups.stores.base import Place, Store
from apps.backups.stores.local import LocalStore
from apps.backups.stores.s3 import S3Store

STORES: dict[str, Callable[[Place], Store]] = {"local": LocalStore, "s3": S3Store}


def store_of(place: Place) -> Store:
    """Return the adapter for a place. Touches nothing yet; raises StoreTrouble for a place that can never be right."""
    try:
        adapter = STORES[place.kind]
    except KeyError as error:
        raise StoreTrouble(f"Mainstay knows no store of the kind “{place.kind}”. Nothing was changed.") from error
    return adapter(place)
