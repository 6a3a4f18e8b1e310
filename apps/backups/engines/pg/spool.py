"""Puts a decrypted archive into a scratch folder, after checking that there is room, and decodes one to its end."""

import fcntl
import os
import shutil
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from apps.backups.engines.base import Opener
from apps.backups.engines.pg.archive import Contents, Recorder, read_contents
from apps.backups.engines.pg.stderr import classify
from apps.backups.engines.pg.tools import restore_client
from apps.backups.facts import EngineTrouble, Manifest
from apps.backups.work import Work
from apps.core import words

PIECE = 1024 * 1024
_SPARE = 256 * 1024 * 1024  # so much stays free beside what a restore takes


def assert_room(folder: Path, need: int) -> None:
    """Raise unless so many bytes are free where the restore will happen."""
    free = shutil.disk_usage(folder).free
    if free < need + _SPARE:
        raise EngineTrouble(
            f"There is not enough room to restore: {need / 1e9:.1f} GB are needed in "
            f"{folder.parent} and {free / 1e9:.1f} GB are free. "
            "Nothing was restored; make room and try again.",
            code="disk-full",
            permanent=False,
            untestable=True,
        )


def spool(opener: Opener, path: Path, work: Work, total: int) -> int:
    """Copy the archive to `path` (mode 0600) and return its size in bytes."""
    done = 0
    try:
        with opener() as source, os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
            work.progress("fetching", 0, total)
            while piece := source.read(PIECE):
                sink.write(piece)
                done += len(piece)
                work.progress("fetching", done, max(total, done))
    except OSError as error:
        if error.errno in {28, 122}:
            raise EngineTrouble(
                "The disk became full while the archive was fetched. Nothing was restored; make room and try again.",
                code="disk-full",
                permanent=False,
                untestable=True,
            ) from None
        raise
    return done


def contents_of(path: Path) -> Contents:
    """Return the table of contents of an archive on disk."""
    with path.open("rb") as file:
        try:
            return read_contents(Recorder(file))
        except EOFError:
            raise truncated() from None


def truncated(log: tuple[str, ...] = ()) -> EngineTrouble:
    """Return the trouble of an archive that ends too early."""
    return EngineTrouble(
        "The archive ends too early or is damaged: it cannot be restored as it is. Use an older "
        "backup, and look at the log of the run "
        "that wrote it.",
        code="truncated",
        log=log,
    )


def read(opener: Opener, manifest: Manifest, work: Work) -> str:
    """Decode the whole archive with pg_restore and return one sentence (disaster D34: a listing alone sees nothing)."""
    client = restore_client(str(manifest.tools.get("pg_dump", manifest.facts.get("dumped_by", "0"))))
    work.tools["pg_restore"] = client.version
    process = subprocess.Popen(
        [client.program("pg_restore"), "--file=-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        start_new_session=True,
    )
    threads: list[threading.Thread] = []
    said: list[str] = []
    try:
        stdin, stderr = process.stdin, process.stderr
        if stdin is None or stderr is None:
            raise EngineTrouble("pg_restore could not be started.", code="failed", permanent=False)
        with suppress(OSError):  # more than this user may ask for
            fcntl.fcntl(stdin, fcntl.F_SETPIPE_SZ, PIECE)
        threads = [threading.Thread(target=_keep, args=(stderr, said), daemon=True)]
        threads[0].start()
        size = 0
        with opener() as source:
            work.progress("reading", 0, manifest.source_bytes)
            with suppress(BrokenPipeError):
                while piece := source.read(PIECE):
                    stdin.write(piece)
                    size += len(piece)
                    work.progress("reading", size, max(size, manifest.source_bytes))
                stdin.flush()
        with suppress(BrokenPipeError):
            stdin.close()
        code = process.wait(300)
        for thread in threads:
            thread.join(30)
    finally:
        process.kill()
        process.wait(30)
        for stream in (process.stdin, process.stderr):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
    verdict = classify(said)
    if "truncated" in verdict.codes or "not-an-archive" in verdict.codes:
        raise truncated(verdict.log)
    if code != 0 or not verdict.ok:
        raise EngineTrouble(
            "The archive could not be decoded to its end; the log below says why. Use an older backup.",
            code="unreadable",
            log=verdict.log,
        )
    expected = sum(member.count for member in manifest.members)
    return (
        f"pg_restore {client.version} decoded {words.size(size)} to its end: "
        f"{words.plural(len(manifest.members), 'table')}, {words.plural(expected, 'row')} recorded."
    )


def _keep(stream: IO[bytes], said: list[str]) -> None:
    with suppress(OSError, ValueError):
        for raw in stream:
            if len(said) < 4000:
                said.append(raw.decode(errors="replace").rstrip("\n"))
