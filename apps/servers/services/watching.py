"""Looking: what each server stands at, told to alerts; and when its disks will be full."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import transaction

from apps.alerts import services as alerts
from apps.core.refused import Refused
from apps.people.models import Person
from apps.people.services import record
from apps.servers import judge, problems, samples, thresholds
from apps.servers.forecast import Trend, forecast
from apps.servers.judge import Known
from apps.servers.models import HostKey, Sample, Server
from apps.servers.services.adding import subject_key
from apps.servers.thresholds import State

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=30)
FORECAST_EVERY = timedelta(hours=1)
FORECAST_DAYS = 30
AT_ONCE = 200


def watch(now: datetime) -> None:
    """Judge the servers that are due for it and tell alerts what is wrong and what was mended."""
    due = list(Server.objects.to_judge(now)[:AT_ONCE])
    if not due:
        return
    open_causes = alerts.open_causes()
    changed = {key.server_id: key for key in HostKey.objects.changed([server.pk for server in due])}
    pinned = set(HostKey.objects.pinned().of([server.pk for server in due]))
    for server in due:
        try:
            judge_server(
                server, now=now, changed=changed.get(server.pk), pinned=server.pk in pinned, open_causes=open_causes
            )
        except Exception:  # one server that cannot be judged must not leave the others unjudged
            log.exception("server %s could not be judged", server.pk)


def judge_server(
    server: Server, *, now: datetime, changed: HostKey | None, pinned: bool, open_causes: set[tuple[str, str]]
) -> None:
    """Judge one server, write its standing when it changed, and tell alerts."""
    fields: dict[str, Any] = {"judge_at": now + EVERY}
    states = _states(server, now)
    kept = {metric: state.to_json() for metric, state in states.items()}
    if kept != server.states:
        fields["states"] = server.states = kept
    if server.full_at is None or now - server.full_at >= FORECAST_EVERY:
        fields |= {"full": foretold(server, now), "full_at": now}
        server.full = fields["full"]
    known = known_of(server, states=states, changed=changed, pinned=pinned)
    found = judge.faults(known, now)
    verdict, said = judge.verdict(known, found, now)
    told = [{**asdict(fault), "since": fault.since.isoformat() if fault.since else None} for fault in found]
    if server.verdict != verdict.value:
        fields |= {"verdict": verdict.value, "verdict_since": now}
    if server.verdict_said != said:
        fields["verdict_said"] = said
    if server.faults != told:
        fields["faults"] = told
    Server.objects.filter(pk=server.pk).update(**fields)
    _tell(server, found, open_causes, now)


def _tell(server: Server, found: list[judge.Fault], open_causes: set[tuple[str, str]], now: datetime) -> None:
    alerts.report_each(
        problems=problems.PROBLEMS,
        said={fault.code: fault.said for fault in found},
        subject_key=subject_key(server),
        subject=server.name,
        url=server.url,
        open_causes=open_causes,
        now=now,
    )


def known_of(server: Server, *, states: Mapping[str, State], changed: HostKey | None, pinned: bool) -> Known:
    """Fetch what the judgement needs from the rows."""
    facts = getattr(server, "facts", None)
    data: Mapping[str, Any] = facts.data if facts else {}
    updates: Mapping[str, Any] = data.get("updates") or {}
    until = data.get("end_of_life")
    full = [
        (disk, _moment(told["likely"]), _moment(told["earliest"]), _moment(told["latest"]) if told["latest"] else None)
        for disk, told in sorted(server.full.items())
        if told.get("likely") and told.get("earliest") and told["trend"] == Trend.RISING
    ]
    return Known(
        name=server.name,
        pinned=pinned,
        changed_key=changed.fingerprint if changed else "",
        reached_at=server.reached_at,
        failing_since=server.failing_since,
        failure=server.failure,
        failure_said=server.failure_said,
        skew=server.clock_skew,
        values=server.latest.get("values", {}),
        states=states,
        limits=server.limits,
        full=full,
        facts_at=facts.taken_at if facts else None,
        security=updates.get("security"),
        security_since=server.security_since,
        lists_at=datetime.fromtimestamp(updates["lists_at"], UTC) if updates.get("lists_at") else None,
        reboot=data.get("reboot") or "",
        system=data.get("system") or "",
        end_of_life=date.fromisoformat(until) if until else None,
    )


def _states(server: Server, now: datetime) -> dict[str, State]:
    """Carry the kept states on by the newest sample; one that was judged already changes nothing."""
    values, at = server.latest.get("values", {}), server.latest.get("at")
    states = {metric: State.from_json(kept) for metric, kept in server.states.items()}
    if at is None:
        return states
    moment = min(datetime.fromtimestamp(at, UTC), now)
    for metric, value in values.items():
        rule = thresholds.limit(metric, server.limits)
        state = states.get(metric, State())
        if rule is not None and (state.seen is None or moment > state.seen):
            states[metric] = thresholds.judge(rule, state, value, moment)
    return {metric: state for metric, state in states.items() if metric in values or state.raised}


def foretold(server: Server, now: datetime) -> dict[str, dict[str, Any]]:
    """Return for each disk, and its inodes, when it will be full."""
    end = int(now.timestamp()) + 1
    rows = [
        (at, samples.unpack(packed, server.series))
        for at, packed in Sample.objects.between(server, 3600, end - FORECAST_DAYS * 86400, end)
    ]
    fresh = [
        (at, samples.unpack(packed, server.series))
        for at, packed in Sample.objects.between(server, 300, end - 86400, end)
    ]
    out: dict[str, dict[str, Any]] = {}
    for metric in server.latest.get("values", {}):
        if thresholds.kind(metric) not in {"disk", "inodes"}:
            continue
        points = {at: row[metric].most for at, row in (*rows, *fresh) if metric in row}
        told = forecast(sorted(points.items()), 1.0, now)
        out[metric] = {
            "trend": told.trend.value,
            "said": told.said,
            **{name: _text(getattr(told, name)) for name in ("earliest", "likely", "latest")},
        }
    return out


def change_limits(*, actor: Person, server: Server, limits: Mapping[str, Mapping[str, Any]], now: datetime) -> None:
    """Change when figures of a server are trouble. Raises Refused with the metric as its field."""
    for metric, fields in limits.items():
        rule = thresholds.limit(metric, {**server.limits, metric: fields})
        if rule is None:
            raise Refused("There is no limit for that figure.", metric)
        if wrong := rule.broken():
            raise Refused(wrong, metric)
    with transaction.atomic():
        Server.objects.filter(pk=server.pk).update(limits={**server.limits, **limits}, judge_at=now)
        record(actor=actor, verb="servers.limits_changed", subject=server.name, subject_id=server.pk)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
