"""A scratch server is locked away, and gone afterwards: after a crash of the worker too, as root and as nobody."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings

from apps.backups import scratch
from apps.backups.facts import EngineTrouble
from apps.backups.scratch import jail
from apps.backups.scratch.server import scratch_server
from apps.backups.scratch.sweep import living_in, started_at
from tests.backups.lent import Lent

pytestmark = pytest.mark.real
ROOT = Path(settings.BASE_DIR)

# Starts a scratch server, says where it is, tries to read the keys through it, and waits to be killed.
WORKER = """
import json, os, signal, sys
from pathlib import Path
from datetime import timedelta
sys.path[:0] = json.loads(sys.argv[1])
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from tests.backups.lent import Lent
from apps.backups.scratch.server import scratch_server
from apps.core.keys import KeyRing, new_key, ring_path, save_ring
if not ring_path().exists():
    save_ring(KeyRing((new_key(),)), ring_path())
work = Lent(Path(os.environ["MAINSTAY_DATA"]))
with scratch_server(15, work, within=timedelta(hours=1)) as server, server.connect() as connection:
    tried = {}
    for title, query in {
        "program": f"COPY t FROM PROGRAM 'cat {ring_path()}'",
        "file": f"COPY t FROM '{ring_path()}'",
        "folder": f"SELECT pg_ls_dir('{ring_path().parent}')",
        "process": "COPY t FROM PROGRAM 'cat /proc/1/environ'",
        "who": "COPY t FROM PROGRAM 'id -u'",
    }.items():
        try:
            connection.execute("CREATE TABLE IF NOT EXISTS t (x text)")
            connection.execute(query)
            tried[title] = [row[0] for row in connection.execute("SELECT x FROM t")]
        except Exception as error:
            tried[title] = str(error)
    print(json.dumps({"where": work.left[0][1], "kind": work.left[0][0], "pid": server.process.pid,
                      "said": server.jail.keeper.said, "tried": tried}), flush=True)
    signal.pause()
"""


def started(
    data: Path, python: str = sys.executable, **how: object
) -> "tuple[subprocess.Popen[str], dict[str, object]]":
    """Run the worker until it has said where its server is."""
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    process = subprocess.Popen(
        [python, "-c", WORKER, json.dumps(paths)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", "MAINSTAY_DATA": str(data), "HOME": str(data), "LC_ALL": "C.UTF-8"},
        cwd=str(ROOT),
        **how,  # type: ignore[call-overload]
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the worker ended with {process.wait(30)}"
    return process, json.loads(line)


def gone(pid: int) -> bool:
    """Wait until a process of another parent is gone, twenty seconds at most."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 20)[0])
    finally:
        os.close(handle)


def assert_locked_away(told: dict[str, object], uid: str) -> None:
    """See that the server, though its superuser asked, read nothing of Mainstay's."""
    tried = told["tried"]
    assert isinstance(tried, dict)
    for title in ("program", "file", "folder", "process"):
        assert isinstance(tried[title], str), tried
    assert tried["who"] == [uid]


def test_a_killed_worker_takes_its_server_along_and_the_sweep_takes_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    process, told = started(data)
    folder = Path(json.loads(str(told["where"]))["folder"])
    living = living_in(folder)
    assert told["kind"] == "scratch-server"
    assert len(living) >= 4
    if os.geteuid() == 0:
        assert_locked_away(told, str(jail.keeper().uid))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert all(gone(pid) for pid in (int(str(told["pid"])), *living))
    assert folder.exists()
    scratch.sweep(str(told["where"]))
    assert not folder.exists()
    scratch.sweep(str(told["where"]))  # again: nothing to do, nothing to say


def test_the_sweep_ends_a_server_whose_worker_only_hangs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    process, told = started(data)
    try:
        folder = Path(json.loads(str(told["where"]))["folder"])
        living = living_in(folder)
        scratch.sweep(str(told["where"]))
        assert all(gone(pid) for pid in living)
        assert not folder.exists()
        assert not list(folder.parent.glob(f"{folder.name}*"))
    finally:
        process.kill()
        process.wait(30)


@pytest.mark.skipif(os.geteuid() != 0, reason="as root it can become nobody; otherwise the other tests are this one")
def test_without_root_a_user_namespace_hides_the_same(tmp_path: Path) -> None:
    python = sys.executable if not os.path.realpath(sys.executable).startswith("/root") else "/usr/bin/python3.11"
    site = next(path for path in sys.path if path.endswith("site-packages"))
    if not Path(python).exists() or any(
        part.stat().st_mode & 0o005 != 0o005 for part in (ROOT, *ROOT.parents, Path(site))
    ):
        pytest.skip("nobody cannot read this checkout or its Python")
    data = Path("/tmp") / f"ms-{os.getpid()}-{tmp_path.name[-8:]}"  # where nobody can get to
    data.mkdir(mode=0o700)
    os.chown(data, 65534, 65534)
    try:
        process, told = started(data, python, user=65534, group=65534, extra_groups=[])
        try:
            assert "user, mount" in str(told["said"])
            assert_locked_away(told, "65534")
        finally:
            process.kill()
            process.wait(30)
        assert gone(int(str(told["pid"])))
    finally:
        shutil.rmtree(data, ignore_errors=True)


def test_the_sweep_touches_nothing_but_scratch_folders(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    for folder in (precious, Path("/"), Path("/etc"), tmp_path / "runs" / ".." / "precious"):
        with pytest.raises(EngineTrouble) as caught:
            scratch.sweep(json.dumps({"folder": str(folder)}))
        assert caught.value.code == "not-ours"
    assert precious.exists()


def test_a_process_number_that_was_used_again_is_left_alone(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    folder = runs / "s1"
    folder.mkdir(parents=True)
    bystander = subprocess.Popen([shutil.which("sleep") or "/bin/sleep", "60"])
    try:
        (runs / "s1.pid").write_text(f"{bystander.pid} {started_at(bystander.pid) - 1}", encoding="ascii")
        scratch.sweep(json.dumps({"folder": str(folder)}))
        assert bystander.poll() is None
        assert not folder.exists()
    finally:
        bystander.kill()
        bystander.wait(10)


def test_an_open_data_folder_refuses_the_jail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    who = jail.keeper()
    folder = tmp_path / "run"
    (folder / "root").mkdir(parents=True)
    inside = folder / "secret"
    inside.write_text("x", encoding="ascii")
    inside.chmod(0o644)
    folder.chmod(0o755)
    monkeypatch.setattr(
        jail, "hidden", lambda _folder: (inside,)
    )  # the run's folder is what a jail can see: so this one is open
    done = jail.Jail(who, folder).run(["/bin/true"], seconds=30)
    assert done.returncode == 97
    refused = jail.refused(done.returncode, done.stderr.decode())
    assert refused is not None
    assert refused.untestable


def test_a_major_version_that_is_not_here_names_the_package(work: Lent) -> None:
    with pytest.raises(EngineTrouble) as caught, scratch_server(13, work, within=timedelta(hours=1)):
        pass
    assert caught.value.untestable
    assert "postgresql-13" in caught.value.sentence


def test_an_error_in_the_block_leaves_nothing(work: Lent) -> None:
    folders: list[Path] = []

    def fail() -> None:
        with scratch_server(17, work) as server:
            folders.append(server.folder)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not folders[0].exists()
    assert living_in(folders[0]) == []
