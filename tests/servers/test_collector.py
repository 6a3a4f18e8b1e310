"""The collector against real sshd and the real gate; time is an argument, nothing waits for the clock."""

import asyncio
import base64
import uuid
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from apps.servers import samples
from apps.servers.collector.loop import Collector
from apps.servers.gate import wire
from apps.servers.models import Facts, HostKey, Sample, Server
from apps.servers.services import collecting
from tests.servers.sshd import WHY, Sshd, gate, missing, script, sshd

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(missing, reason=WHY),
    pytest.mark.django_db(transaction=True),
]
NOW = datetime(2026, 11, 23, 9, 41, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
T = TypeVar("T")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture
def make(running: Sshd, tmp_path: Path) -> Callable[..., Server]:
    """Return what makes a server with its gate and its pinned key; the newest is the one that sshd lets in."""
    lines: list[str] = []

    def made(level: str = "observe", program: Path | None = None, **changed: Any) -> Server:
        number = uuid.uuid4()
        private, public = wire.new_pair()
        installed = program or gate(tmp_path / str(number), server=str(number), public_key=public, level=level)
        lines.append(f'restrict,command="{installed}" {public}')
        running.authorize("mainstay", *lines)
        fields = {
            "name": f"web-{number}", "address": running.address, "port": running.port, "level": level,
            "private_key": private, "public_key": public, "next_sample_at": NOW,
            "next_facts_at": NOW + timedelta(days=9),
        }  # fmt: skip
        server: Server = Server.objects.create(id=number, **{**fields, **changed})
        pin(server, running)
        return server

    return made


def pin(server: Server, running: Sshd) -> None:
    for kind, blob in running.host_keys:
        HostKey.objects.create(
            server=server, type=kind, blob=blob, fingerprint=wire.fingerprint(base64.b64decode(blob)), state="pinned"
        )


def run(work: Awaitable[T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(100):
            return await work

    return asyncio.run(bounded())


async def looks(*moments: datetime, driver: str = "one") -> None:
    """Let a collector look at some moments, each answered before the next."""
    collector = Collector(driver)
    for moment in moments:
        await collector.look(moment)
        await collector.settled()
    await collector.close()


def fresh(server: Server) -> Server:
    found: Server = Server.everything.get(pk=server.pk)
    return found


def test_a_server_is_sampled_each_minute_over_one_connection(make: Any, running: Sshd) -> None:
    server = make()
    before = running.log().count("Accepted publickey")
    run(looks(NOW, NOW + 2 * MINUTE, NOW + 4 * MINUTE))  # its own second of a minute lies between two of these
    assert running.log().count("Accepted publickey") == before + 1
    rows = list(Sample.objects.filter(server=server, step=60).order_by("at"))
    assert len(rows) == 3
    assert rows[0].at == samples.start(NOW.timestamp(), 60)
    server = fresh(server)
    first = samples.unpack(rows[0].packed, server.series)
    assert 0 < first["memory"].mean < 1
    assert 0 < first["disk:/"].mean <= 1
    last = samples.unpack(rows[2].packed, server.series)
    assert server.latest["values"]["memory"] == pytest.approx(last["memory"].mean, abs=0.001)
    assert (server.failure, server.failing_since, server.gate_level) == ("", None, "observe")
    assert server.reached_at == NOW + 4 * MINUTE
    assert server.booted_at
    assert server.next_sample_at > NOW + 4 * MINUTE


def test_facts_come_with_the_first_answer_and_then_each_hour(make: Any) -> None:
    server = make(next_facts_at=NOW)
    run(looks(NOW, NOW + 2 * MINUTE))
    facts = Facts.objects.get(server=server)
    assert facts.data["hostname"]
    assert facts.taken_at == NOW
    assert NOW + timedelta(minutes=10) < fresh(server).next_facts_at <= NOW + timedelta(minutes=73)
    run(looks(NOW + timedelta(hours=2)))
    again = Facts.objects.get(server=server)
    assert again.taken_at == NOW + timedelta(hours=2)


def test_at_the_level_operate_facts_are_asked_of_the_root_half(make: Any) -> None:
    server = make(level="operate", gate_level="operate", next_facts_at=NOW)
    run(looks(NOW))
    facts = Facts.objects.get(server=server).data
    assert any(one["program"] for one in facts["listeners"])


def test_a_root_half_that_is_missing_leaves_the_facts_of_the_other_and_says_so(make: Any) -> None:
    server = make(level="observe", gate_level="operate", next_facts_at=NOW)
    run(looks(NOW))
    facts = Facts.objects.get(server=server).data
    assert any("observe" in one for one in facts["lacks"])


def test_a_changed_host_key_is_a_hard_stop_until_an_admin_pins_a_key(make: Any, running: Sshd) -> None:
    server = make()
    other = wire.new_pair()[1].split()
    keys = HostKey.objects.filter(server=server)
    keys.update(blob=other[1], fingerprint="SHA256:other")
    before = running.log().count("Connection from")
    hours = [NOW + timedelta(hours=hour) for hour in range(30)]
    run(looks(*hours))
    assert running.log().count("Connection from") == before + 1  # no retry clears it, not even after a day
    server = fresh(server)
    assert (server.failure, server.failing_since) == ("host_key", NOW)
    assert keys.filter(state="changed").count() == 1
    Server.objects.update(next_sample_at=NOW)  # nor does asking for it
    run(looks(NOW + timedelta(days=2)))
    assert running.log().count("Connection from") == before + 1
    keys.filter(state="pinned").update(state="retired")
    keys.filter(state="changed").update(state="pinned")
    Server.objects.update(failure="", failing_since=None, next_sample_at=NOW)
    run(looks(NOW + timedelta(days=2)))
    assert fresh(server).reached_at == NOW + timedelta(days=2)


def test_a_server_without_a_pinned_key_is_not_dialled(make: Any, running: Sshd) -> None:
    server = make()
    HostKey.objects.all().delete()
    before = running.log().count("Connection from")
    run(looks(NOW))
    assert running.log().count("Connection from") == before
    assert fresh(server).failure == ""


def test_a_scan_that_was_asked_for_finds_the_host_keys(make: Any, running: Sshd) -> None:
    server = make(scan_asked_at=NOW)
    HostKey.objects.all().delete()
    run(looks(NOW))
    assert [key.state for key in server.host_keys.all()] == ["offered"]
    assert (fresh(server).scanned_at, fresh(server).scan_asked_at) == (NOW, None)


def test_a_scan_of_nobody_says_why(make: Any) -> None:
    server = make(scan_asked_at=NOW, port=1)
    HostKey.objects.all().delete()
    run(looks(NOW))
    assert "Nothing listens" in fresh(server).scan_said


def test_a_silent_server_is_asked_ever_more_rarely_and_since_when_is_kept(make: Any) -> None:
    server = make(port=1)
    run(looks(*(NOW + MINUTE * minute for minute in range(30))))
    server = fresh(server)
    assert (server.failure, server.failing_since) == ("refused", NOW)
    assert server.next_sample_at - NOW > timedelta(minutes=30)
    Server.objects.update(port=server.port)


def test_not_being_let_in_is_tried_rarely_and_facts_do_not_try_meanwhile(make: Any, running: Sshd) -> None:
    server = make(reached_at=NOW, next_facts_at=NOW)
    running.authorize("mainstay")
    before = running.log().count("Connection from")
    run(looks(*(NOW + timedelta(seconds=30 * number) for number in range(40))))
    assert running.log().count("Connection from") == before + 2  # in twenty minutes
    assert fresh(server).failure == "auth"


def test_a_hostile_sample_is_a_failure_and_never_a_row(make: Any, tmp_path: Path) -> None:
    program = script(tmp_path / "hostile", "print('{\"gate\": 1}')")
    server = make(program=program)
    run(looks(NOW))
    assert fresh(server).failure == "malformed"
    assert not Sample.objects.exists()


def test_one_bad_server_does_not_keep_the_others_from_being_asked(make: Any, tmp_path: Path) -> None:
    make(program=script(tmp_path / "hostile", "import sys\nwhile True: sys.stdout.write('x' * 65536)"))
    make(port=1)
    good = make()
    run(looks(NOW))
    assert fresh(good).reached_at == NOW


def test_a_lost_connection_is_made_anew_in_the_same_minute(make: Any) -> None:
    server = make()

    async def play() -> None:
        collector = Collector("one")
        await collector.look(NOW)
        await collector.settled()
        collector.seats[str(server.pk)].line.drop()
        await collector.look(NOW + 2 * MINUTE)
        await collector.settled()
        await collector.close()

    run(play())
    assert Sample.objects.filter(server=server).count() == 2
    assert fresh(server).failure == ""


def test_two_collectors_never_drive_one_server_and_the_second_takes_over(make: Any) -> None:
    make()
    assert len(collecting.lease(driver="one", now=NOW)) == 1
    assert collecting.lease(driver="two", now=NOW + timedelta(seconds=59)) == set()
    assert len(collecting.lease(driver="two", now=NOW + timedelta(seconds=61))) == 1
    assert collecting.due(driver="one", now=NOW + timedelta(seconds=61)) == []
    collecting.release(driver="two")
    assert len(collecting.lease(driver="three", now=NOW + timedelta(seconds=62))) == 1


def test_what_a_collector_heard_after_it_lost_its_lease_is_not_written(make: Any) -> None:
    server = make()

    async def play() -> None:
        collector = Collector("one")
        await collector.look(NOW)
        while not collector._heard:
            await asyncio.wait(set(collector._busy.values()))
        await collector._rows(Server.objects.update, driver="two", driver_until=NOW + MINUTE)
        await collector.settled()
        await collector.close()

    run(play())
    assert fresh(server).reached_at is None
    assert fresh(server).driver == "two"
    assert not Sample.objects.exists()


def test_a_removed_server_is_hung_up_on(make: Any) -> None:
    server = make()

    async def play() -> int:
        collector = Collector("one")
        await collector.look(NOW)
        await collector.settled()
        await collector._rows(Server.objects.filter(pk=server.pk).update, removed_at=NOW, driver="", private_key=None)
        await collector.look(NOW + MINUTE)
        await collector.settled()
        seats = len(collector.seats)
        await collector.close()
        return seats

    assert run(play()) == 0


def test_a_person_who_asks_for_it_earlier_is_not_overwritten(make: Any) -> None:
    server = make()
    collecting.lease(driver="one", now=NOW)
    (one,) = collecting.due(driver="one", now=NOW)
    asked = NOW + timedelta(seconds=3)
    Server.objects.update(next_facts_at=asked)
    heard = collecting.Heard(one, NOW, NOW + timedelta(hours=1), only_facts=True)
    collecting.keep([heard], driver="one")
    assert fresh(server).next_facts_at == asked


def test_minutes_roll_up_to_five_and_to_hours_once(make: Any) -> None:
    server = make(series=["memory"])
    start = samples.start(NOW.timestamp(), 3600)
    for minute in range(120):
        packed, _ = samples.pack(samples.single({"memory": minute / 200}), ["memory"])
        Sample.objects.create(server=server, step=60, at=start + 60 * minute, packed=packed)
    end = datetime.fromtimestamp(start + 7200 + 130, UTC)
    done = collecting.roll_up(servers={server.pk}, since={}, now=end)
    assert done == {300: start + 7200, 3600: start + 7200}
    assert Sample.objects.filter(step=300).count() == 24
    hours = list(Sample.objects.between(server, 3600, 0, 2**31))
    assert [at for at, _ in hours] == [start, start + 3600]
    figure = samples.unpack(hours[1][1], ["memory"])["memory"]
    assert figure.count == 60
    assert (figure.least, figure.most) == pytest.approx((0.3, 119 / 200))
    assert collecting.roll_up(servers={server.pk}, since={}, now=end) == done  # after a start anew: nothing twice
    assert Sample.objects.filter(step=300).count() == 24


def test_old_samples_go_and_the_rolled_up_ones_stay(make: Any) -> None:
    server = make()
    for step in (60, 300, 3600):
        for days in (1, 3, 40, 500):
            at = samples.start((NOW - timedelta(days=days)).timestamp(), step)
            Sample.objects.create(server=server, step=step, at=at, packed=b"\x01")
    collecting.prune(servers={server.pk}, now=NOW)
    left = {step: Sample.objects.filter(step=step).count() for step in (60, 300, 3600)}
    assert left == {60: 1, 300: 2, 3600: 3}


def test_nothing_is_held_while_there_is_no_server() -> None:
    async def play() -> tuple[int, int]:
        collector = Collector("one")
        await collector.look(NOW)
        found = len(collector.seats), len(collector._busy)
        await collector.close()
        return found

    assert run(play()) == (0, 0)

