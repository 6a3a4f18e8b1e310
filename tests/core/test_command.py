"""The parts of ./mainstay that can be told without starting anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from apps.core.environment import broker_socket
from config.bench import BENCHES
from config.bench.figure import Figure
from config.command import bench, packages, postgres
from config.command.running import Job, side_by_side
from config.command.say import Refusal
from config.command.test import count, only_db
from config.command.up import as_port, loopback
from tests.core.starting import ROOT


@pytest.mark.parametrize(
    ("words", "narrowed"),
    [
        ([], ["-m", "db"]),
        (["tests/core", "-x"], ["tests/core", "-x", "-m", "db"]),
        (["-m", "not real", "-q"], ["-q", "-m", "db and (not real)"]),
        (["-m=real or browser"], ["-m", "db and (real or browser)"]),
        (["--maxfail=1"], ["--maxfail=1", "-m", "db"]),
    ],
)
def test_the_second_run_keeps_the_selection_and_adds_db(words: list[str], narrowed: list[str]) -> None:
    assert only_db(words) == narrowed


def test_a_run_without_a_report_has_failed(tmp_path: Path) -> None:
    assert count(tmp_path / "none.xml", 0).code == 1


def test_a_report_is_counted(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>')
    tally = count(report, 1)
    assert (tally.passed, tally.failed, tally.skipped) == (3, 3, 3)


def test_a_figure_is_one_object_with_the_agreed_names() -> None:
    assert list(Figure("start", "next start", 2.5, "s", 5.0, 3).as_json().items()) == [
        ("bench", "start"), ("figure", "next start"), ("value", 2.5), ("unit", "s"), ("baseline", 5.0), ("ratio", 0.5),
        ("runs", 3),
    ]  # fmt: skip
    assert Figure("memory", "web", 30.0, "MiB").ratio is None
    json.dumps(Figure("memory", "web", 30.0, "MiB").as_json())


def test_every_bench_has_its_function() -> None:
    for name in BENCHES:
        assert callable(bench.bench(name))


@pytest.mark.parametrize("words", [[], ["nothing"], ["start", "memory"], ["start", "--xml"]])
def test_a_bench_that_is_none_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(words) == 2
    assert "one of: start" in capsys.readouterr().err


def test_jobs_run_side_by_side_and_one_that_fails_tells_its_output(capfd: pytest.CaptureFixture[str]) -> None:
    good = Job("good", [sys.executable, "-c", "print('hidden')"])
    bad = Job("bad", [sys.executable, "-c", "print('why'); raise SystemExit(3)"])
    assert side_by_side([[good], [good, good]])
    assert not side_by_side([[good, bad], [good]])
    said = capfd.readouterr().out
    assert "BAD  bad" in said
    assert "why" in said
    assert "hidden" not in said


def test_ubuntu_is_not_asked_for_a_chromium_that_is_a_snap() -> None:
    assert "chromium" in packages.wanted("debian")
    assert "chromium" not in packages.wanted("ubuntu")


def test_packages_that_are_missing_are_named() -> None:
    if packages.system():
        assert packages.missing(["no-such-package", "dpkg"]) == ["no-such-package"]


def test_ci_refuses_what_would_be_skipped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(packages, "system", lambda: "")
    with pytest.raises(Refusal, match="chromium"):
        packages.ensure(strict=True)
    assert "neither Debian nor Ubuntu" in capsys.readouterr().out


def test_a_program_that_cannot_be_had_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "system", lambda: "")
    assert packages.program("sh").endswith("/sh")
    with pytest.raises(Refusal, match="install the package age-of-stone"):
        packages.program("age-of-stone")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_known(host: str) -> None:
    assert loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "2001:db8::1"])
def test_what_is_not_loopback_is_known(host: str) -> None:
    assert not loopback(host)


@pytest.mark.parametrize("word", ["", "0", "65536", "8x", "80.0", "-1", " 80"])
def test_a_port_that_is_none(word: str) -> None:
    with pytest.raises(Refusal):
        as_port(word)


def test_the_brokers_socket_always_fits_and_is_the_same_for_everyone(tmp_path: Path) -> None:
    assert broker_socket(Path("/data")) == Path("/data/run/broker.sock")
    long = Path("/" + "x" * 200)
    assert len(str(broker_socket(long))) <= 107
    assert broker_socket(long) == broker_socket(long)
    assert broker_socket(long) != broker_socket(Path("/" + "y" * 200))


@pytest.mark.real
def test_a_skipped_test_fails_a_strict_run(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_a(): pytest.skip('no server')\ndef test_b(): pass\n")
    plugins = ["-p", "no:django", "-p", "config.command.strict", "-c", "/dev/null"]
    words = [sys.executable, "-m", "pytest", "-q", *plugins, str(tmp_path)]
    strict = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert strict.returncode == 1, strict.stdout
    assert "test_it.py::test_a" in strict.stdout


def gone(pid: int) -> bool:
    """Return whether a process has ended (one that nobody has reaped yet counts as ended)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.real
def test_a_postgresql_starts_on_a_socket_only_and_is_gone_afterwards() -> None:
    with postgres.server() as server:
        folder = Path(server.url.partition("@/")[2]).parent
        assert (folder / ".s.PGSQL.5432").is_socket()
        pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        assert Path(f"/proc/{pid}").stat().st_uid != 0
    assert not folder.exists()
    assert gone(pid)
