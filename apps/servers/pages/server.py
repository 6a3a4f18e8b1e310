"""What the page of one server shows: its sentence, its charts over a chosen time, its services, ports and updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from django.utils.safestring import SafeString

from apps.core import charts, words
from apps.core.charts import Ahead
from apps.servers import samples, thresholds
from apps.servers.forecast import far
from apps.servers.models import Sample, Server
from apps.servers.samples import Figure

RANGES = {"1h": (3600, "1 h"), "24h": (86400, "24 h"), "7d": (7 * 86400, "7 days"), "30d": (30 * 86400, "30 days"),
          "90d": (90 * 86400, "90 days")}  # fmt: skip
TITLES = {
    "disk": "Disk",
    "memory": "Memory",
    "cpu": "Processor",
    "load": "Load per core",
    "swap": "Swap",
    "pressure_cpu": "Waiting for the processor",
    "pressure_memory": "Waiting for memory",
    "pressure_io": "Waiting for disk",
    "inodes": "Inodes",
}
ALWAYS = ("disk", "memory", "cpu", "pressure_io")  # what is drawn before one asks for all
AHEAD_SHARE = 0.18  # of the width of a disk's chart is for the forecast


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table under the charts: what is, least, mean and most over the time."""

    title: str
    now: str
    least: str
    mean: str
    most: str
    limit: str


@dataclass(frozen=True, slots=True)
class Charts:
    """The charts of a server over a time: the first ones, and the others with a table when everything is asked for."""

    key: str
    first: list[SafeString]
    more: list[SafeString]
    lines: list[Line]
    everything: bool


def charts_of(server: Server, key: str, now: datetime, tz: tzinfo = UTC, *, everything: bool = False) -> Charts:
    """Draw metrics of a server over a time, at most 300 points each, every peak kept."""
    key = key if key in RANGES else "24h"
    seconds = RANGES[key][0]
    step = samples.step_for(seconds)
    end = int(now.timestamp()) + 1
    rows = _rows(server, step, end - seconds - step, end)
    only = {name for name in server.series if thresholds.kind(name) in (TITLES if everything else ALWAYS)}
    by_metric = samples.points(rows, server.series, since=end - seconds, until=end, step=step, only=only)
    moments = {point.at: _moment(point.at, tz) for point in next(iter(by_metric.values()), ())}  # each has the same
    first: list[SafeString] = []
    more: list[SafeString] = []
    lines: list[Line] = []
    for metric in sorted(by_metric, key=_order):
        drawn = by_metric[metric]
        picture = _chart(server, metric, drawn, seconds, now, moments, tz)
        (first if thresholds.kind(metric) in ALWAYS else more).append(picture)
        lines.append(_line(server, metric, [figure for point in drawn if (figure := point.figure)]))
    return Charts(key, first, more, lines, everything)


def _rows(server: Server, step: int, start: int, end: int) -> list[tuple[int, bytes]]:
    """Return the rows of a step, and of shorter ones what is not rolled up yet."""
    found: list[tuple[int, bytes]] = []
    for each in reversed([one for one in samples.STEPS if one <= step]):
        rows = list(Sample.objects.between(server, each, start, end))
        found += rows
        start = rows[-1][0] + each if rows else start
    return found


def _order(metric: str) -> tuple[int, str]:
    kind = thresholds.kind(metric)
    return (list(TITLES).index(kind) if kind in TITLES else len(TITLES)), metric


def title_of(metric: str) -> str:
    """Return what a metric is called: "Disk /srv"."""
    kind, _, what = metric.partition(":")
    return f"{TITLES[kind]} {what}".strip()


def _chart(
    server: Server,
    metric: str,
    drawn: Sequence[samples.Point],
    seconds: int,
    now: datetime,
    moments: Mapping[int, str],
    tz: tzinfo,
) -> SafeString:
    kind = thresholds.kind(metric)
    rule = thresholds.limit(metric, server.limits)
    scale = 1 if kind == "load" else 100
    unit = "" if kind == "load" else "%"
    values = [None if value is None else value * scale for value in samples.series(drawn, lambda figure: figure.mean)]
    value = server.latest.get("values", {}).get(metric)
    known = [figure for point in drawn if (figure := point.figure)]
    least, most = min(f.least for f in known) * scale, max(f.most for f in known) * scale
    limit = (rule.above * scale, f"{rule.above * scale:.0f}{unit}") if rule and rule.on else None
    said = f"{title_of(metric)} between {least:.0f}{unit} and {most:.0f}{unit} over {RANGES_SAID[seconds]}."
    told = server.full.get(metric, {})
    if kind in {"disk", "inodes"} and told:
        said = f"{said} {told['said']}"
    missing = sum(until - start for start, until in samples.gaps(drawn))
    if missing > 2 * drawn[0].step:
        said += f" Nothing was measured for {words.took(float(missing))} of it."
    ahead = _ahead(told, seconds, values, now)
    marks = [(0.0, "0"), (50.0, "50%"), (100.0, "100%")] if unit else [(0.0, "0")]
    return charts.line(
        title_of(metric),
        values,
        said=said,
        now=_now_words(server, metric, value),
        words=_words(drawn, values, unit, moments, ahead),
        marks=marks,
        limit=limit,
        below=[_below(at, seconds, tz) for at in _ticks(drawn)],
        top=100.0 if unit else None,
        ahead=ahead,
    )


RANGES_SAID = {seconds: f"the last {said}" for seconds, said in RANGES.values()}


def _ahead(told: Mapping[str, Any], seconds: int, values: Sequence[float | None], now: datetime) -> Ahead | None:
    """Return the forecast where it says something: the value at the right edge between its two bounds."""
    last = next((value for value in reversed(values) if value is not None), None)
    if told.get("trend") != "rising" or last is None or last >= 100:
        return None
    further = seconds * AHEAD_SHARE / (1 - AHEAD_SHARE)

    def reached(moment: str | None) -> float:
        left = (datetime.fromisoformat(moment) - now).total_seconds() if moment else 0.0
        return last + (100 - last) * min(further / left, 1.0) if left > 0 else (last if moment is None else 100.0)

    return Ahead(
        1 - AHEAD_SHARE, reached(told.get("latest")), reached(told.get("likely")), reached(told.get("earliest"))
    )


def _now_words(server: Server, metric: str, value: float | None) -> str:
    if value is None:
        return "not measured now"
    kind = thresholds.kind(metric)
    total = server.latest.get("totals", {}).get(metric)
    if kind == "load":
        return f"{value:.1f}"
    said = f"{value * 100:.0f}%"
    if kind in {"disk", "memory", "swap"} and total:
        said += f" of {words.size(total)}"
    elif kind == "cpu" and server.latest.get("cores"):
        said += f" of {words.plural(server.latest['cores'], 'core')}"
    likely = server.full.get(metric, {}).get("likely")
    if likely and server.full[metric].get("trend") == "rising":
        left = datetime.fromisoformat(likely) - datetime.fromtimestamp(server.latest["at"], UTC)
        if left.days < 90:
            said += f", full in about {far(left.total_seconds() / 86400)}"
    return said


def _words(
    drawn: Sequence[samples.Point],
    values: Sequence[float | None],
    unit: str,
    moments: Mapping[int, str],
    ahead: Ahead | None,
) -> list[str]:
    """Return the hover text of each point, and of the stretch of a forecast, which lies evenly after them."""
    out = [
        f"{moments[point.at]}, not measured" if value is None else f"{moments[point.at]}, {value:.1f}{unit}"
        for point, value in zip(drawn, values, strict=True)
    ]
    if ahead:
        left = round(len(out) * (1 - ahead.share) / ahead.share)
        out += [f"Forecast: {ahead.likely:.0f}{unit} at the edge, {ahead.low:.0f} to {ahead.high:.0f}{unit}"] * left
    return out


def _moment(at: int, tz: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at, tz):%-d %b %H:%M}"


def _ticks(drawn: Sequence[samples.Point]) -> list[int]:
    first, last = drawn[0].at, drawn[-1].at + drawn[-1].step
    return [first + (last - first) * i // 4 for i in range(4)]


def _below(at: int, seconds: int, tz: tzinfo) -> str:
    moment = datetime.fromtimestamp(at, tz)
    return f"{moment:%H:%M}" if seconds <= 86400 else f"{moment:%-d %b}"


def _line(server: Server, metric: str, figures: Sequence[Figure]) -> Line:
    whole, rule = samples.joined(figures), thresholds.limit(metric, server.limits)
    unit = "load" if thresholds.kind(metric) == "load" else "share"
    value = server.latest.get("values", {}).get(metric)
    return Line(
        title_of(metric),
        "–" if value is None else thresholds.shown(value, unit),
        thresholds.shown(whole.least, unit),
        thresholds.shown(whole.mean, unit),
        thresholds.shown(whole.most, unit),
        thresholds.shown(rule.above, unit) if rule and rule.on else "none",
    )


@dataclass(frozen=True, slots=True)
class Services:
    """The services that somebody put there, or that are not well; and how many of the system itself are well."""

    own: list[Mapping[str, Any]]
    system: int


SYSTEM = (
    "systemd-",
    "user@",
    "user-runtime-dir@",
    "getty@",
    "serial-getty@",
    "dbus.",
    "console-",
    "kmod",
    "networking.",
)


def services_of(found: Sequence[Mapping[str, Any]] | None) -> Services:
    """Sort the services of a server: what failed first, the system's own only when it is not well."""
    own = [one for one in found or () if one["state"] == "failed" or not one["name"].startswith(SYSTEM)]
    own.sort(key=lambda one: (one["state"] != "failed", one["name"]))
    return Services(own, len(found or ()) - len(own))


@dataclass(frozen=True, slots=True)
class Port:
    """One port with its program, on all the addresses that it listens on."""

    port: int
    proto: str
    where: str
    program: str


def ports_of(found: Sequence[Mapping[str, Any]] | None) -> list[Port]:
    """Return a row for each port and program; IPv4 and IPv6 are one."""
    places: dict[tuple[int, str, str], set[str]] = {}
    for one in found or ():
        places.setdefault((one["port"], one["proto"], one["program"]), set()).add(_reach(one["address"]))
    return [
        Port(port, proto, "every address" if "every address" in where else ", ".join(sorted(where)), program)
        for (port, proto, program), where in sorted(places.items())
    ]


def _reach(address: str) -> str:
    if address in {"0.0.0.0", "::", "*"}:  # noqa: S104 what a server listens on, nothing that we open
        return "every address"
    return "this machine only" if address.startswith("127.") or address == "::1" else address
