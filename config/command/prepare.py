"""Before the children start: database, keys, static files and the first admin, in the process that loaded Django."""

import contextlib
import errno
import hashlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from config.command.running import ROOT
from config.command.say import Refusal, say

OURS = ("core", "people", "alerts", "servers", "access", "backups", "overview")


@contextlib.contextmanager
def plainly(data: Path) -> Iterator[None]:
    """Turn what a disk, a database or a wrong setting says into one sentence with the way out."""
    from django.core.exceptions import ImproperlyConfigured
    from django.db import Error

    try:
        yield
    except ImproperlyConfigured as error:
        raise Refusal(f"A setting is unclear: {error}. Nothing was changed; correct it and start again.") from error
    except OSError as error:
        raise Refusal(disk(data, error)) from error
    except Error as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "disk is full" in said or "No space left" in said:
            raise Refusal(full(data)) from error
        if "readonly" in said or "unable to open" in said:
            raise Refusal(
                f"The database in {data} cannot be written ({said}). Nothing was changed; check its owner and mode."
            ) from error
        from django.db import connection

        which = "built-in database" if connection.vendor == "sqlite" else "database named in DATABASE_URL"
        raise Refusal(f"The {which} refused: {said}. Nothing was lost; mend that and start again.") from error


def disk(data: Path, error: OSError) -> str:
    """Return the sentence for what the data folder's disk said."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return full(data)
    return (
        f"The data folder {data} cannot be used ({error.strerror or error}). Nothing was changed; give it to the user "
        "who starts Mainstay, or name another with --data."
    )


def full(data: Path) -> str:
    """Return the sentence for a full disk."""
    return f"The disk of the data folder {data} is full. Nothing was lost; make room there and start again."


def data_named() -> Path:
    """Return the data folder that the environment names, for what must be said before there are settings."""
    return Path(os.environ.get("MAINSTAY_DATA") or ROOT / "data")


def follow_address(data: Path) -> None:
    """Take the address under which `up` was last started on a data folder, where the environment names none.

    What a command prints as a link must lead to the Mainstay that runs, also when its port was given to `up` alone.
    """
    if "MAINSTAY_URL" in os.environ or "MAINSTAY_PORT" in os.environ:
        return
    with contextlib.suppress(OSError):
        if url := (data / "run" / "url").read_text(encoding="ascii").strip():
            os.environ["MAINSTAY_URL"] = url


def load_django(data: Path) -> Any:
    """Load Django and return its settings. Raises Refusal for an unclear setting."""
    from django.core.exceptions import ImproperlyConfigured

    try:
        import django
        from django.conf import settings

        django.setup()
    except ImproperlyConfigured as error:
        raise Refusal(f"A setting is unclear: {error}. Nothing was changed; correct it and start again.") from error
    except OSError as error:
        raise Refusal(disk(data, error)) from error
    return settings


def migrate() -> bool:
    """Bring the database up to date; return whether there was anything to do. Refuses what a newer version wrote."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    newer = sorted(
        f"{label}.{name}"
        for label, name in executor.loader.applied_migrations
        if label in OURS and (label, name) not in executor.loader.disk_migrations
    )
    if newer:
        raise Refusal(
            f"This database was written by a newer Mainstay ({', '.join(newer)}). Nothing was changed; start that one."
        )
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return False
    say("Preparing the database …")
    call_command("migrate", interactive=False, verbosity=0)
    return True


def private(settings: Any) -> None:
    """Close the built-in database to other users, also where the data folder is open to them."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        for end in ("", "-wal", "-shm"):  # SQLite gives the two the mode of the first, when it makes them
            with contextlib.suppress(FileNotFoundError):
                Path(f"{database['NAME']}{end}").chmod(0o600)


def keys() -> None:
    """Make the keys of a new installation, or refuse when they do not belong to this database."""
    from apps.core.ring_check import KeysRefusedError, check_keys

    try:
        made = check_keys()
    except KeysRefusedError as error:
        raise Refusal(str(error)) from error
    if made:
        say("Made the key ring and the age identity. Without them no backup opens: print the recovery key soon.")


def first_admin() -> None:
    """Make the first admin from the environment, or print a one-time link, while there is no person."""
    from django.core.management import call_command
    from django.core.management.base import CommandError

    try:
        call_command("firstadmin")
    except CommandError as error:
        raise Refusal(f"The first admin was not made: {error}") from error


def static_inputs(settings: Any) -> str:
    """Return a digest of everything that static files are made of: names, sizes and times."""
    from django.contrib.staticfiles.finders import get_finders

    digest = hashlib.sha256(f"2 {settings.STORAGES['staticfiles']['BACKEND']}".encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            stat = Path(storage.path(path)).stat()
            digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def collect(settings: Any) -> None:
    """Build the fonts and collect the static files, only when what they are made of changed."""
    from django.core.management import call_command

    from apps.core.build import build_assets

    logging.getLogger("fontTools").setLevel(logging.ERROR)
    build_assets(Path(settings.MAINSTAY_DATA) / "built")
    stamp, now = Path(settings.STATIC_ROOT) / ".made-of", static_inputs(settings)
    if stamp.is_file() and stamp.read_text(encoding="ascii") == now:
        return
    call_command("collectstatic", interactive=False, verbosity=0, clear=True)
    stamp.write_text(now, encoding="ascii")


def in_fork(body: Callable[[], None], fork: Callable[[Callable[[], None]], int], failed: Path) -> int:
    """Run a step in a fork, so that what it loads does not stay in memory; its error goes into a file."""

    def step() -> None:
        try:
            body()
        except OSError as error:
            failed.write_text(disk(failed.parent.parent, error), encoding="utf-8")
            sys.exit(1)
        except Exception:  # noqa: BLE001 this is the last frame of the process; the parent tells
            failed.write_text(traceback.format_exc(), encoding="utf-8")
            sys.exit(1)

    failed.unlink(missing_ok=True)
    return fork(step)


def everything(settings: Any, fork: Callable[[Callable[[], None]], int], finish: Callable[[int], int]) -> None:
    """Do all of it; the static files are made meanwhile by a fork. Raises Refusal."""
    data = Path(settings.MAINSTAY_DATA)
    failed = data / "run" / "static.error"
    job = in_fork(lambda: collect(settings), fork, failed)
    try:
        with plainly(data):
            migrate()
            private(settings)
            keys()
            first_admin()
    finally:
        from django.db import connections

        connections.close_all()
        code = finish(job)
    if code:
        said = failed.read_text(encoding="utf-8").strip() if failed.is_file() else f"code {code}"
        raise Refusal(f"The static files could not be made: {said.splitlines()[-1]}")


def own_folder(folder: Path) -> None:
    """Make the short folder of a broker socket, and refuse one that belongs to someone else."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    stat = folder.lstat()
    if stat.st_uid != os.getuid() or stat.st_mode & 0o77 or folder.is_symlink():
        raise Refusal(f"{folder} belongs to someone else, so the broker's socket cannot lie there; remove that folder.")
