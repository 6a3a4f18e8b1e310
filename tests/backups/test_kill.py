"""A worker killed (SIGKILL) at any stage: its run is taken over or failed after its lease, and nothing stays behind."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]


def run(data: Path, *args: str) -> "subprocess.Popen[str]":
    """Start a worker process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "MAINSTAY_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.backups.worker", str(data), *args],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def said(child: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return the next thing that a worker says."""
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, f"the worker ended with {child.wait()}"
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with keys and an empty, migrated database."""
    data = tmp_path_factory.mktemp("prepared")
    with run(data, "prepare") as child:
        assert child.wait(120) == 0
    return data


def killed(prepared: Path, tmp_path: Path, kind: str, stage: str, spent: int = 0) -> dict[str, Any]:
    """Kill a worker at a stage, let the next one finish, and return what is left."""
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    with run(data, "begin", kind, stage, str(spent)) as child:
        assert said(child) == {"at": stage}
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        handles = [os.pidfd_open(int(pid)) for pid in children]
        child.send_signal(signal.SIGKILL)
        child.wait()
    for handle in handles:
        ended, _, _ = select.select([handle], [], [], 20)
        os.close(handle)
        assert ended, "a process of the killed worker lives on"
    with run(data, "finish") as child:
        left = said(child)
    assert left["strays"] == [], left
    assert left["missing"] == [], left
    assert left["ledger"] == [], left
    assert left["scratch"] == [], left
    return left


def test_three_schedulers_at_once_make_one_plan_and_one_run(prepared: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    children = [run(data, "tick") for _ in range(3)]
    for child in children:
        assert said(child) == {"at": "ready"}
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    found = [said(child) for child in children]
    for child in children:
        child.communicate(timeout=60)
    assert [(each["plans"], each["backups"]) for each in found] == [(1, 1)] * 3
    assert found[0]["missed"] == 40


@pytest.mark.parametrize("stage", ["connecting", "copying", "reading the copy back", "catalogue"])
def test_a_backup_whose_worker_is_killed_is_taken_over(prepared: Path, tmp_path: Path, stage: str) -> None:
    left = killed(prepared, tmp_path, "backup", stage)
    assert left["backup"] == ["done", 2, ""]
    assert left["test"] == ["done", "proven"]


def test_a_backup_whose_worker_is_killed_with_its_last_attempt_is_failed_and_told(
    prepared: Path, tmp_path: Path
) -> None:
    left = killed(prepared, tmp_path, "backup", "copying", spent=2)
    state, attempt, error = left["backup"]
    assert (state, attempt) == ("failed", 4)
    assert "worker stopped" in error
    assert "backups.failed" in left["incidents"]


@pytest.mark.parametrize("stage", ["asking the store", "reading the copy", "restoring"])
def test_a_restore_test_whose_worker_is_killed_is_done_again(prepared: Path, tmp_path: Path, stage: str) -> None:
    assert killed(prepared, tmp_path, "test", stage)["test"] == ["done", "proven"]


def test_a_restore_whose_worker_is_killed_is_failed_and_not_done_twice(prepared: Path, tmp_path: Path) -> None:
    left = killed(prepared, tmp_path, "restore", "restoring")
    assert left["restore"][0] == "failed"
    assert "may hold a part" in left["restore"][1]
    assert not left["new"]
