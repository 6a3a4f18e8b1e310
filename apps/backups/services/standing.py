"""What the first page shows of backups: claims with their newest proof, and what only a person can do."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, IntegerField, Q, Value, When
from django.urls import reverse

from apps.backups.judge import shared, stands
from apps.backups.models import Plan
from apps.backups.services.recovery import key_is_proven
from apps.core import words
from apps.core.claims import Claim, Need, Standing

MOST_NEEDS = 20
TITLES = {"S1": "No data is lost", "S4": "Databases are dumped", "S5": "Files are kept", "S6": "Restores are tested"}
_CLAIMED = (
    "id", "name", "files", "fresh", "ever", "proven_at", "proven_taken_at", "proven_seconds", "last_bytes",
    "verdict_since", "troubles",
)  # fmt: skip
_FAULTY = ("id", "name", "files", "fresh", "ever", "verdict", "verdict_since", "troubles", "paused_at")


def marks(now: datetime) -> dict[str, Case]:
    """Return what the claims of plans hang on, as columns: `files`, `fresh` and `ever` of `judge.stands`. One query."""

    def mark(found: Q) -> Case:
        return Case(When(found, then=Value(1)), default=Value(0), output_field=IntegerField())

    fresh = Plan.objects.all().fresh_proof(now)
    return {"files": mark(Q(source__kind="directory")), "fresh": mark(fresh), "ever": mark(Q(proven_at__isnull=False))}


def claims(now: datetime) -> list[Claim]:
    """Return three claims a plan: its data is not lost (S1), it is dumped or kept (S4, S5), restores are tested (S6).

    Two queries, whatever the number of plans. A claim is proven only by a restore test younger than the plan's policy.
    """
    found: list[Claim] = []
    for plan in Plan.objects.annotate(**marks(now)).order_by("name").values(*_CLAIMED):
        found += _claims(plan, now)
    return found


def _claims(plan: Mapping[str, Any], now: datetime) -> Iterable[Claim]:
    url = reverse("plan", args=[plan["id"]])
    figures = {
        "restore_seconds": plan["proven_seconds"],
        "data_age_seconds": (now - plan["proven_taken_at"]).total_seconds() if plan["proven_taken_at"] else None,
        "bytes": plan["last_bytes"],
    }
    proof = f"Restore proven {words.ago(plan['proven_at'], now)}" if plan["proven_at"] else "No restore was ever proven"
    if plan["proven_seconds"] is not None:
        proof += f", back within {words.took(plan['proven_seconds'])}"
    for claim, standing, worst in stands_of(plan):
        proven = standing is Standing.PROVEN
        yield Claim(
            id=claim,
            title=TITLES[claim],
            subject=plan["name"],
            standing=standing,
            said=f"{proof}." if worst is None else str(worst["said"]),
            url=url,
            todo="" if proven else str(worst["todo"]) if worst else "Wait for the first proof, or test a restore now.",
            proven_at=plan["proven_at"],
            since=plan["proven_at"] if proven else _since(worst, plan),
            figures=figures,
        )


def stands_of(row: Mapping[str, Any]) -> Iterable[tuple[str, Standing, Mapping[str, Any] | None]]:
    """Judge the claims of a row that has `marks`; without `troubles` nothing is against it."""
    return stands(
        files=bool(row["files"]), fresh=bool(row["fresh"]), ever=bool(row["ever"]), troubles=row.get("troubles", ())
    )


def faulty(marked: Mapping[str, Case]) -> list[Mapping[str, Any]]:
    """Return the plans with something against them, paused ones too, the worst first and with `marks`. One query."""
    some = Plan.objects.filter(Q(verdict__in=["bad", "warn"]) | ~Q(troubles=[]))
    return list(some.annotate(**marked).order_by("verdict", "verdict_since").values(*_FAULTY))


def _since(worst: Mapping[str, Any] | None, plan: Mapping[str, Any]) -> datetime | None:
    if worst and worst.get("since"):
        return datetime.fromisoformat(worst["since"])
    since: datetime | None = plan["verdict_since"]
    return since


def needs(now: datetime, faults: Iterable[Mapping[str, Any]] | None = None) -> list[Need]:
    """Return what only a person can do: at most 20 plans, the worst first, then the rest as one. Constant queries.

    `faults` is what `faulty` returned, for a caller that has asked already.
    """
    found: list[Need] = []
    risky = [plan for plan in (faulty(marks(now)) if faults is None else faults) if plan["verdict"] in {"bad", "warn"}]
    bad = sum(plan["verdict"] == "bad" for plan in risky)
    apart = _apart(now)
    for plan in risky[:MOST_NEEDS]:
        need = _need(plan, hide_domain=not apart)
        if need is not None:
            found.append(need)
    rest = len(risky) - MOST_NEEDS
    if rest > 0:
        left = "bad" if bad > MOST_NEEDS else "warn"
        found.append(
            Need(
                1,
                left,
                f"{words.plural(rest, 'more plan')} at risk",
                "They are listed with the reason and since when.",
                "See all plans at risk",
                f"{reverse('backups')}?verdict=risk",
            )
        )
    if not apart:
        found.append(
            Need(
                1,
                "warn",
                "No backup is kept off this site",
                "Every store can be lost together with what it keeps: one fire, theft or stolen key takes both.",
                "Add an off-site store",
                reverse("store-new"),
                action="backups.plan",
            )
        )
    if not key_is_proven():
        found.append(
            Need(
                1,
                "warn",
                "Recovery key not proven",
                "Backups are encrypted. If this machine is lost, they open only with the printed recovery key.",
                "Print the recovery key",
                reverse("recovery-key"),
                action="backups.recovery_key",
            )
        )
    return sorted(found, key=lambda need: (need.rank, need.severity != "bad"))


def _need(plan: Mapping[str, Any], *, hide_domain: bool) -> Need | None:
    # Without any off-site store, one need says so for all plans; the same sentence for each of them helps nobody.
    against = [one for one in plan["troubles"] if not (hide_domain and one["code"] == "backups.same_domain")]
    if not against:
        return None
    worst = against[0]
    verbs = {
        "backups.proof_failed": "Read the evidence",
        "backups.unproven": "Test a restore",
        "backups.stale": "Test a restore",
        "backups.no_owner": "Choose an owner",
        "backups.paused": "Resume the plan",
        "backups.failed": "See why it failed",
    }
    return Need(
        rank=1,
        severity="bad" if worst["bad"] else "warn",
        title=f"{plan['name']}: {_FAULTS.get(worst['code'], 'at risk')}",
        said=f"{worst['said']} {worst['todo']}".strip(),
        verb=verbs.get(worst["code"], "See the plan"),
        url=reverse("plan", args=[plan["id"]]),
        since=_since(worst, plan),
    )


_FAULTS = {
    "backups.failed": "the backup failed",
    "backups.late": "the backup is late",
    "backups.never_ran": "no backup yet",
    "backups.lost": "a backup is gone",
    "backups.empty": "the backup is empty",
    "backups.shrunk": "the backup shrank",
    "backups.proof_failed": "the restore test failed",
    "backups.key_lost": "backups cannot be opened",
    "backups.store": "the store cannot be read",
    "backups.untestable": "cannot be tested here",
    "backups.unproven": "never proven",
    "backups.stale": "the proof is too old",
    "backups.left_out": "something is left out",
    "backups.source": "something is odd at the source",
    "backups.unlocked": "nothing was locked",
    "backups.same_domain": "store and source can be lost together",
    "backups.no_owner": "nobody answers for it",
    "backups.paused": "paused for too long",
    "backups.goal_loss": "could lose more than its goal",
    "backups.goal_back": "a restore takes longer than its goal",
}


def _apart(now: datetime) -> bool:
    """Return whether some plan keeps its backups apart from what it backs up, and took one within a month."""
    fresh = Plan.objects.live().filter(last_backup_at__gte=now - timedelta(days=31))
    pairs = fresh.values_list("source__domain", "store__domain").order_by().distinct()
    return any(not shared(source, store) for source, store in pairs)
