"""The first start, before any package is there: Python too old, no venv module, no network, an interrupted set-up."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.starting import ROOT, bare, free_port

pytestmark = pytest.mark.real
NO_PIP_SETTINGS = {"PIP_CONFIG_FILE": "/dev/null", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_RETRIES": "0"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a fresh checkout with no environment and a lock of nothing."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "config" / "command", folder / "config" / "command")
    shutil.copy2(ROOT / "mainstay", folder / "mainstay")
    (folder / "requirements.lock").write_text("# nothing\n")
    return folder


def start(checkout: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the checkout's ./mainstay."""
    return started([str(checkout / "mainstay"), *words], **env)


def started(command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with this Python unless another is named."""
    return subprocess.run(
        command,
        env=bare(**{"MAINSTAY_PYTHON": sys.executable, **env}),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one sentence with which a set-up ended; lines of progress may stand before it."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    return done.stderr.strip().splitlines()[-1]


def test_a_python_that_is_too_old_is_named_with_its_version(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "readlink", "dirname", "cat"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    old = tools / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -I ] && exit 1\necho 3.9.2\n')
    old.chmod(0o755)
    said = refusal(start(checkout, "up", PATH=str(tools), MAINSTAY_PYTHON=""))
    assert "3.11 or newer" in said
    assert "the newest here is 3.9.2" in said
    old.unlink()
    assert "there is none on PATH" in refusal(start(checkout, "up", PATH=str(tools), MAINSTAY_PYTHON=""))


def test_packages_that_cannot_be_fetched_are_one_sentence(checkout: Path) -> None:
    shutil.copy2(ROOT / "requirements.lock", checkout / "requirements.lock")
    index = f"http://127.0.0.1:{free_port()}/simple"
    done = start(checkout, "up", PIP_INDEX_URL=index, **NO_PIP_SETTINGS)
    assert "could not be fetched" in refusal(done)
    assert "checked against its digest" in done.stderr


def test_a_set_up_that_was_interrupted_heals_at_the_next_start(checkout: Path) -> None:
    broken = checkout / ".venv" / "bin"
    broken.mkdir(parents=True)
    (broken / "python").symlink_to("/nowhere/python")
    done = start(checkout, "help")
    assert done.returncode == 0, done.stderr
    assert "Making .venv" in done.stderr
    again = start(checkout, "help")
    assert again.stdout.startswith("./mainstay COMMAND")


def test_a_changed_lock_is_installed_and_an_unchanged_one_is_not_looked_at(checkout: Path) -> None:
    assert "Fetching" in start(checkout, "help").stderr
    assert "Fetching" not in start(checkout, "help").stderr
    (checkout / "requirements.lock").write_text("# changed\n")
    assert "Fetching" in start(checkout, "help").stderr


@pytest.mark.parametrize("command", ["test", "check", "bench"])
def test_what_runs_the_tests_packages_is_set_up_once_and_nothing_is_fetched_again(checkout: Path, command: str) -> None:
    (checkout / "tests").mkdir()
    (checkout / "tests" / "requirements.lock").write_text("# nothing\n")
    first = start(checkout, command, "--no-such-word")
    assert first.stderr.count("Fetching") == 1, first.stderr
    assert "tests/requirements.lock" in first.stderr
    for word in ("up", "help", command):
        assert "Fetching" not in start(checkout, word, "--no-such-word").stderr


def test_a_copy_without_the_tests_says_so(checkout: Path) -> None:
    said = refusal(start(checkout, "bench", "start"))
    assert "tests/requirements.lock is not here" in said
    assert not (checkout / ".venv").exists()


def test_the_tests_packages_are_fetched_after_those_of_up(checkout: Path) -> None:
    (checkout / "tests").mkdir()
    (checkout / "tests" / "requirements.lock").write_text("# nothing\n")
    assert " in requirements.lock" in start(checkout, "help").stderr
    assert "tests/requirements.lock" in start(checkout, "bench", "start").stderr


def test_a_lock_that_changed_with_the_tests_is_fetched_for_up_too(checkout: Path) -> None:
    (checkout / "tests").mkdir()
    (checkout / "tests" / "requirements.lock").write_text("# nothing\n")
    start(checkout, "bench")
    (checkout / "requirements.lock").write_text("# changed\n")
    assert " in requirements.lock" in start(checkout, "help").stderr


def test_an_unknown_command_is_one_sentence_and_the_list(checkout: Path) -> None:
    done = start(checkout, "dwon")
    assert done.returncode == 2
    assert "'dwon'" in done.stderr
    assert "up, manage, check, test, claims, bench, lock" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="hides a folder by a mount, which only root can")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs the system's own Python")
def test_a_missing_venv_module_is_named_with_its_package(checkout: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    ours = [folder for folder in tmp_path.parents if "pytest" in str(folder)]  # one more of them under xdist
    for folder in (*ours, tmp_path, checkout, empty):
        folder.chmod(0o755)
    checkout.chmod(0o777)
    ask = "import ensurepip, os; print(os.path.dirname(ensurepip.__file__))"
    hidden = subprocess.run(["/usr/bin/python3", "-I", "-c", ask], capture_output=True, text=True, check=True)
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    script = f'mount --bind {empty} {hidden.stdout.strip()} && exec {nobody} "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(checkout / "mainstay"), "up"]
    done = started(command, MAINSTAY_PYTHON="/usr/bin/python3")
    said = refusal(done)
    assert "venv module is missing" in said
    assert "apt-get install python3." in said
