"""How access stands: C6, nobody shares a key; told to alerts at each look, and to the first page."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.urls import reverse

from apps.access import problems
from apps.access.models import AccessState, Asking, Departure, Drift
from apps.alerts import services as alerts
from apps.alerts.problem import Problem
from apps.core.claims import Claim, Need, Standing
from apps.core.words import lasting, plural

FRESH = timedelta(hours=2)  # two looks may be missed
Kept = Sequence[tuple[AccessState, int]]


def watch(now: datetime) -> None:
    """Tell alerts how each server and each departure stands."""
    live = alerts.open_causes()
    for state, bad in states():
        key, url = f"access.server:{state.server_id}", reverse("access")
        name = state.server.name
        _say(problems.PUSH, key, name, url, state.refused, live, now)
        said = f"{plural(bad, 'thing')} on {name} would let somebody in who should not." if bad else ""
        _say(problems.DRIFT, key, name, reverse("access-drift"), said, live, now)
        unseen = state.looked_at is None or now - state.looked_at > FRESH
        ago = f"for {lasting(state.looked_at, now)}" if state.looked_at else "ever"
        said = f"Nobody has looked {ago} at who can sign in there." if unseen else ""
        _say(problems.UNSEEN, key, name, url, said, live, now)
    departures = list(Departure.objects.unproven())
    for departure in departures:
        url = reverse("access-departure", args=[departure.pk])
        said = f"{plural(departure.waiting, 'server')} still to prove that {departure.person} cannot sign in."
        _say(problems.LEAVING, f"access.departure:{departure.pk}", str(departure.person), url, said, live, now)
    waiting = {f"access.departure:{one.pk}" for one in departures}
    for code, key in live:
        if code == problems.LEAVING.code and key not in waiting:
            alerts.report(
                problem=problems.LEAVING, subject_key=key, subject="", url=reverse("access"), healthy=True, now=now
            )


def states() -> list[tuple[AccessState, int]]:
    """Return each server whose access is managed, with how many findings there are bad; `kept` of claims and needs."""
    bad = Drift.objects.bad_by_server()
    return [(state, bad.get(state.server_id, 0)) for state in AccessState.objects.for_list()]


def _say(problem: Problem, key: str, name: str, url: str, said: str, live: set[tuple[str, str]], now: datetime) -> None:
    alerts.report_each(
        problems=(problem,),
        said={problem.code: said},
        subject_key=key,
        subject=name,
        url=url,
        open_causes=live,
        now=now,
    )


def claims(now: datetime, kept: Kept | None = None) -> list[Claim]:
    """Return C6 of each server whose access is managed: proven by a look that found nothing to decide.

    `kept`, here and in `needs`, is what `states` returns, for a caller that has asked already.
    """
    title = "Nobody shares a key"
    found = []
    for state, bad in states() if kept is None else kept:
        name, fresh = state.server.name, state.looked_at is not None and now - state.looked_at <= FRESH
        if not fresh or state.unsure:
            said = state.unsure[0] if state.unsure else "Who can sign in was not looked at lately."
            found.append(
                Claim("C6", title, name, Standing.UNPROVEN, said, reverse("access"), "Look at the server's page.")
            )
        elif bad or state.refused:
            said = state.refused or f"{plural(bad, 'finding')} to decide."
            url = reverse("access-drift") if bad else reverse("access")
            found.append(Claim("C6", title, name, Standing.AT_RISK, said, url, "Decide what was found."))
        else:
            people = sum(row["user"] != "mainstay" for row in state.actual)
            said = f"{plural(people, 'account')} with keys, each of them known here."
            found.append(Claim("C6", title, name, Standing.PROVEN, said, reverse("access"), proven_at=state.looked_at))
    return found


def needs(_now: datetime, kept: Kept | None = None) -> list[Need]:
    """Return what a person must decide about access."""
    found = []
    managed = states() if kept is None else kept
    for state, bad in managed:
        name = state.server.name
        if bad:
            said = f"{plural(bad, 'finding')} would let somebody in who should not."
            url = reverse("access-drift")
            found.append(Need(0, "bad", f"Drift on {name}", said, "Decide", url, action="access.manage"))
        if state.refused:
            found.append(
                Need(1, "warn", f"Access on {name}", state.refused, "Look", reverse("access"), action="access.read")
            )
    for asking in Asking.objects.open() if managed else ():  # one asks for a server whose access is managed
        said = f"{asking.person} asks for access to {asking.server}." + (f" “{asking.why}”" if asking.why else "")
        found.append(
            Need(3, "none", str(asking.person), said, "Decide", reverse("access"), asking.asked_at, "access.manage")
        )
    for departure in Departure.objects.unproven():
        said = f"Not proven yet on {plural(departure.waiting, 'server')}."
        url = reverse("access-departure", args=[departure.pk])
        found.append(Need(0, "bad", f"{departure.person} has left", said, "See", url, departure.began_at))
    return found
