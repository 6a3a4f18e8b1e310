"""./mainstay up, started for real: it comes up, stays up, refuses what it must, and leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.starting import ROOT, Up, bare, free_port, mainstay, refusal, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="makes a mount, which only root can")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder that was started once and stopped by SIGTERM."""
    data = tmp_path_factory.mktemp("prepared") / "data"
    with Up(data, ADMIN_EMAIL="first@example.com", ADMIN_PASSWORD="a long enough password") as up:
        assert up.ended(signal.SIGTERM) == 0
    return data


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    """Return a copy of a prepared data folder."""
    return Path(shutil.copytree(prepared, tmp_path / "data", ignore=shutil.ignore_patterns("broker.sock", "lock")))


@pytest.fixture(scope="module")
def steady(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Return a Mainstay that runs, shared by the tests that only look at it."""
    data = tmp_path_factory.mktemp("steady") / "data"
    shutil.copytree(prepared, data, ignore=shutil.ignore_patterns("broker.sock", "lock"))
    with Up(data) as running:
        yield running


@pytest.fixture
def up(data: Path) -> Iterator[Up]:
    """Return a Mainstay that runs."""
    with Up(data) as running:
        yield running


def test_the_first_page_answers_with_the_policy_and_health_is_good(steady: Up) -> None:
    status, headers, _ = steady.get("/")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self' 'nonce-")
    assert "no-store" in headers["Cache-Control"]
    until(steady.healthy, "the broker answers")


def test_it_listens_on_loopback_only(steady: Up) -> None:
    listening = subprocess.run(["ss", "-Hltn", f"sport = :{steady.port}"], capture_output=True, text=True, check=True)
    assert [line.split()[3] for line in listening.stdout.splitlines()] == [f"127.0.0.1:{steady.port}"]


def test_a_second_up_on_one_data_folder_is_refused_and_hears_whose_it_is(steady: Up) -> None:
    said = refusal(mainstay("up", MAINSTAY_DATA=str(steady.data), MAINSTAY_PORT=str(free_port())))
    assert f"process {steady.process.pid}" in said
    assert steady.get("/healthz")[0] == 200


def test_claims_link_to_the_port_that_up_was_given(steady: Up) -> None:
    done = mainstay("claims", "--json", MAINSTAY_DATA=str(steady.data))
    assert done.returncode == 0, done.stderr
    assert f"http://localhost:{steady.port}/" in done.stdout
    assert "localhost:8000" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_and_leaves_nothing_running(up: Up, number: signal.Signals) -> None:
    assert len(up.left()) >= 5
    assert up.ended(number) == 0
    assert "Traceback" not in up.said


def test_a_kill_of_up_leaves_nothing_running_and_the_next_start_works(up: Up) -> None:
    assert up.ended(signal.SIGKILL) == -signal.SIGKILL
    with Up(up.data) as again:
        until(again.healthy, "healthy again")


def test_pages_answer_while_the_broker_is_dead_and_it_comes_back_with_its_data(up: Up) -> None:
    until(up.healthy, "healthy")
    (broker,) = up.named("valkey")
    os.kill(broker, signal.SIGSTOP)  # the worst broker: it takes connections and never answers
    status, _, body = up.get("/healthz")
    assert (status, json.loads(body)["database"]) == (200, True)
    assert up.get("/")[0] == 200
    os.kill(broker, signal.SIGKILL)
    assert up.get("/")[0] == 200
    until(up.healthy, "the broker is back")
    assert up.named("valkey") != [broker]


def test_each_process_that_dies_is_started_again(up: Up) -> None:
    before = set(up.left()) - {up.process.pid}
    for pid in before:
        if pid in up.left():
            os.kill(pid, signal.SIGKILL)
    until(lambda: len(set(up.left()) - before - {up.process.pid}) >= len(before), "all are back")
    until(up.healthy, "healthy again")
    assert up.get("/")[0] == 200


def test_a_port_that_is_taken_is_named(data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = refusal(mainstay("up", "--port", port, MAINSTAY_DATA=str(data)))
    assert f"Port {port}" in said
    assert "--port" in said


@pytest.mark.parametrize("word", ["0", "65536", "http", "-1", "80 80"])
def test_a_port_that_is_none_is_refused(word: str, tmp_path: Path) -> None:
    assert "port" in refusal(mainstay("up", f"--port={word}", MAINSTAY_DATA=str(tmp_path / "data")))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3"])
def test_listening_beyond_loopback_without_https_is_refused(host: str, tmp_path: Path) -> None:
    said = refusal(mainstay("up", MAINSTAY_DATA=str(tmp_path / "data"), MAINSTAY_LISTEN=host))
    assert "https" in said
    said = refusal(
        mainstay("up", MAINSTAY_DATA=str(tmp_path / "d"), MAINSTAY_LISTEN=host, MAINSTAY_URL="http://example.com")
    )
    assert "MAINSTAY_URL" in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAINSTAY_URL", "example.com"),
        ("MAINSTAY_ALLOW_PRIVATE", "perhaps"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("SECRET_KEY_FILE", "/nowhere/key"),
        ("MAINSTAY_TRUSTED_PROXIES", "the proxy"),
        ("MAINSTAY_LISTEN", "example.com"),
    ],
)
def test_an_unclear_setting_refuses_to_start_and_is_named(name: str, value: str, data: Path) -> None:
    said = refusal(mainstay("up", **{"MAINSTAY_DATA": str(data), "MAINSTAY_PORT": str(free_port()), name: value}))
    assert name.removesuffix("_FILE") in said


def test_a_missing_key_ring_is_refused_by_key_id_and_nothing_is_made(data: Path) -> None:
    ring = data / "keys" / "ring.json"
    key_id = json.loads(ring.read_text())["keys"][0]["id"]
    ring.unlink()
    said = refusal(mainstay("up", MAINSTAY_DATA=str(data), MAINSTAY_PORT=str(free_port())))
    assert key_id in said
    assert not ring.exists()


def test_a_wrong_master_key_is_refused_by_key_id_and_not_overwritten(data: Path) -> None:
    ring = data / "keys" / "ring.json"
    content = json.loads(ring.read_text())
    content["keys"][0]["key"] = "A" * 43 + "="
    ring.write_text(json.dumps(content))
    before = ring.read_bytes()
    said = refusal(mainstay("up", MAINSTAY_DATA=str(data), MAINSTAY_PORT=str(free_port())))
    assert content["keys"][0]["id"] in said
    assert ring.read_bytes() == before


def test_a_missing_age_identity_is_refused_by_its_recipient(data: Path) -> None:
    identity = data / "keys" / "age.txt"
    recipient = next(line for line in identity.read_text().splitlines() if "public key" in line).split()[-1]
    identity.unlink()
    said = refusal(mainstay("up", MAINSTAY_DATA=str(data), MAINSTAY_PORT=str(free_port())))
    assert recipient in said
    assert not identity.exists()


def test_keys_and_data_are_for_their_owner_only(prepared: Path) -> None:
    for path in [prepared, prepared / "keys", prepared / "run", *(prepared / "keys").iterdir()]:
        assert path.stat().st_mode & 0o77 == 0, path
    files = [each for each in prepared.glob("mainstay.sqlite3*") if each.stat().st_mode & 0o077]
    assert files == []  # also where the folder itself is open to others


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said = refusal(mainstay("up", MAINSTAY_DATA=str(tmp_path / "file" / "data"), MAINSTAY_PORT=str(free_port())))
    assert str(tmp_path / "file" / "data") in said


@root_only
def test_a_data_folder_on_a_read_only_disk_is_named(tmp_path: Path) -> None:
    done = in_mounts(f"mount -t tmpfs -o ro tmpfs {tmp_path}", tmp_path)
    assert "cannot be used (Read-only file system)" in refusal(done)


@root_only
def test_a_full_disk_is_said_plainly(tmp_path: Path) -> None:
    assert "is full" in refusal(in_mounts(f"mount -t tmpfs -o size=4m tmpfs {tmp_path}", tmp_path))


def in_mounts(mount: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `up` where a mount was made that nothing else sees."""
    script = f'{mount} && exec "$0" up'
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, str(ROOT / "mainstay")],
        env=bare(MAINSTAY_DATA=str(folder), MAINSTAY_PORT=str(free_port())),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_data_folder_with_a_long_name_and_spaces_still_has_a_broker(tmp_path: Path) -> None:
    with Up(tmp_path / ("a folder with a long name " * 4) / "data") as up:
        until(up.healthy, "healthy")
        assert up.ended(signal.SIGTERM) == 0


def test_a_database_that_does_not_answer_is_said_plainly(data: Path) -> None:
    address = f"postgres://someone:hidden-word@127.0.0.1:{free_port()}/none"
    said = refusal(mainstay("up", MAINSTAY_DATA=str(data), MAINSTAY_PORT=str(free_port()), DATABASE_URL=address))
    assert "DATABASE_URL" in said
    assert "hidden-word" not in said
