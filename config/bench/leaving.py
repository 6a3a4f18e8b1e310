"""Somebody with access to fifty servers leaves: seconds until each of them has proven that nothing of theirs works.

The servers are those of the tests: systemd, sshd, sudo, an address each, the installed gate at the level manage. They
share this machine's cores with the panel, so the figure holds both sides; the baseline is one login of OpenSSH's client
to each of them (`ssh … true`), made by as many threads in the same run. A clock's tick is not in it: a page's button
is followed within ten seconds.
"""

import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from config.bench import apart
from config.bench.figure import Figure
from config.command.say import Refusal

THREADS = 4  # what the worker of the queue quick has


def measure(servers: int = 50) -> Iterator[Figure]:
    """Measure in a process of its own, on an empty Mainstay."""
    yield from apart.figures("config.bench.leaving:played", servers=servers)


def played(servers: int) -> Iterator[Figure]:
    """Boot the servers, give somebody access to all, end it; all is gone afterwards."""
    try:
        from tests.access.site import Site
        from tests.fleet.fleet import Fleet
        from tests.fleet.machine import lacks
    except ImportError as error:
        raise Refusal(f"This bench needs the servers of the tests ({error.name}): run ./mainstay test once.") from error
    if lacks():
        raise Refusal(f"{lacks()} Nothing was measured.")
    with ExitStack() as stack:
        fleet = Fleet.begin()
        stack.callback(fleet.close)
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mainstay-bench-")))
        lent = stack.enter_context(fleet.lend(servers))
        sites = [Site(server, keys) for server in lent]
        yield from _left(sites, f"{servers} servers")


def _left(sites: list[Any], title: str) -> Iterator[Figure]:
    from django.utils import timezone

    from apps.access import services
    from apps.access.models import Goodbye, KeyPush
    from apps.people.models import Role
    from apps.servers.models import Server
    from tests.people.factories import MemberFactory, OwnerFactory

    olga, bob = OwnerFactory(email="olga@example.com"), MemberFactory(email="bob@example.com")
    for person in (olga, bob):
        for number in (1, 2):
            sites[0].add_key(person, f"{person.email.partition('@')[0]}-{number}")
    Server.objects.update(tags=["all"])
    services.grant(actor=olga, role=Role.OWNER, tag="all", sudo=True, now=timezone.now())
    services.grant(actor=olga, person=bob, tag="all", sudo=True, now=timezone.now())

    def carried() -> None:
        services.look(timezone.now())
        _by_threads(
            lambda pk: services.push(run_id=str(pk)),
            list(KeyPush.objects.due(timezone.now()).values_list("pk", flat=True)),
        )

    began = time.monotonic()
    carried()
    given = time.monotonic() - began
    failed = [run.error for run in KeyPush.objects.exclude(state="done")]
    if failed or not sites[0].opens("bob", "bob-1"):
        raise Refusal(f"The access could not be given, so nothing was measured: {failed[:1]}")
    bare = time.monotonic()
    _by_threads(_ssh_true, [site.server.ssh_words("bob", site.keys / "bob-1") for site in sites])
    bare = time.monotonic() - bare
    began, spent = time.monotonic(), _cpu()
    departure = services.off_board(actor=olga, person=bob, now=timezone.now())
    carried()
    took, spent = time.monotonic() - began, _cpu() - spent
    clocks = [(one.proven_at - departure.began_at).total_seconds() for one in Goodbye.objects.exclude(proven_at=None)]
    if len(clocks) != len(sites):
        lacking = Goodbye.objects.filter(proven_at=None).first()
        raise Refusal(f"{len(clocks)} of {len(sites)} servers have proven it; lacking: {lacking and lacking.proofs}")
    if sites[-1].opens("bob", "bob-1") or not sites[-1].opens("olga", "olga-1"):
        raise Refusal("The wrong person gets in, whatever was proven.")
    yield Figure("leaving", f"{title}: proof on all; baseline: ssh … true", round(took, 1), "s", round(bare, 1))
    yield Figure("leaving", f"{title}: a server's own clock, median", round(sorted(clocks)[len(clocks) // 2], 1), "s")
    yield Figure("leaving", f"{title}: CPU of the panel", round(spent / len(sites) * 1000, 0), "ms a server")
    yield Figure("leaving", f"{title}: giving the access", round(given, 1), "s")


def _by_threads(work: Callable[[Any], Any], items: list[Any]) -> None:
    from django.db import connections

    def one(item: Any) -> None:
        try:
            work(item)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, items))


def _ssh_true(words: list[str]) -> None:
    subprocess.run([*words, "true"], check=True, stdin=subprocess.DEVNULL)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
