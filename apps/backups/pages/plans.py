"""What the list of plans shows: the sentence, the one worst thing, the filters and fifty plans a page."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Case, Count, IntegerField, Q, Value, When
from django.http import QueryDict
from django.utils import timezone

from apps.backups.forms.source import as_uuid
from apps.backups.models import Plan, RestoreTest, Store
from apps.backups.schedule import Schedule, ScheduleError
from apps.backups.schedule import words as schedule_words
from apps.core import words
from apps.people.models import Person

PAGE_SIZE = 50
VERDICTS = {"risk": "At risk", "none": "Not proven yet", "ok": "Proven, not at risk", "paused": "Paused"}
_RANK = Case(
    When(verdict="bad", then=Value(0)),
    When(verdict="warn", then=Value(1)),
    When(verdict="none", then=Value(2)),
    default=Value(3),
    output_field=IntegerField(),
)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the query string asks for; what is not understood is as if it were not there."""

    q: str = ""
    verdict: str = ""
    store: str = ""
    owner: str = ""

    @classmethod
    def read(cls, query: QueryDict) -> "Filters":
        """Read the query string."""
        verdict = query.get("verdict", "")
        owner = query.get("owner", "")
        return cls(
            q=query.get("q", "").replace("\0", "").strip()[:80],
            verdict=verdict if verdict in VERDICTS else "",
            store=as_uuid(query.get("store", "")) or "",
            owner=owner if owner == "nobody" else as_uuid(owner) or "",
        )

    def query(self) -> str:
        """Return the query string without the page."""
        query = QueryDict(mutable=True)
        query.update({name: getattr(self, name) for name in ("q", "verdict", "store", "owner") if getattr(self, name)})
        return query.urlencode()

    def __bool__(self) -> bool:
        """Return whether anything is filtered."""
        return bool(self.q or self.verdict or self.store or self.owner)

    def where(self) -> Q:
        """Return the condition on plans."""
        found = Q()
        if self.q:
            found &= Q(name__icontains=self.q) | Q(source__name__icontains=self.q) | Q(store__name__icontains=self.q)
        if self.verdict == "paused":
            found &= Q(paused_at__isnull=False)
        elif self.verdict:
            which = ["bad", "warn"] if self.verdict == "risk" else [self.verdict]
            found &= Q(verdict__in=which, paused_at=None)
        if self.store:
            found &= Q(store_id=self.store)
        if self.owner == "nobody":
            found &= Q(owner=None) | Q(owner__is_active=False)
        elif self.owner:
            found &= Q(owner_id=self.owner)
        return found


@dataclass(frozen=True, slots=True)
class Counts:
    """How many plans stand how; `proven` is what the first page counts too. Paused ones stand apart."""

    live: int = 0
    proven: int = 0
    risk: int = 0
    none: int = 0
    ok: int = 0
    paused: int = 0

    def of(self, verdict: str) -> int:
        """Return the number that a filter shows."""
        return int(getattr(self, verdict))


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that the list page shows."""

    filters: Filters
    page: Page[Plan]
    counts: Counts
    said: str
    worst: Plan | None
    tests: list[RestoreTest]
    stores: list[tuple[str, str]]
    owners: list[tuple[str, str]]

    @property
    def total(self) -> int:
        """Return how many plans there are, whatever the filters say."""
        return self.counts.live + self.counts.paused


def plan_list(query: QueryDict) -> Overview:
    """Return the list of plans in a fixed number of queries."""
    filters = Filters.read(query)
    counts = count(timezone.now())
    found = Plan.objects.for_page().filter(filters.where())
    page = Paginator(found.order_by(_RANK, "name", "pk"), PAGE_SIZE).get_page(query.get("page"))
    for plan in page.object_list:
        plan.when = says_when(plan)
    people = Person.objects.filter(plans__removed_at=None, plans__isnull=False).distinct().order_by("name", "email")
    return Overview(
        filters=filters,
        page=page,
        counts=counts,
        said=sentence(counts),
        worst=Plan.objects.live().at_risk().only("id", "name", "verdict", "verdict_said", "verdict_since").first(),
        tests=latest_tests(),
        stores=[(str(pk), name) for pk, name in Store.objects.order_by("name").values_list("pk", "name")],
        owners=[(str(person.pk), str(person)) for person in people],
    )


def latest_tests() -> list[RestoreTest]:
    """Return the newest tests with a verdict, by id: ids are in the order of time, and their index makes it cheap."""
    tests = RestoreTest.objects.exclude(verdict="").select_related("plan").order_by("-pk")
    times = ("restore_seconds", "finished_at", "created_at")
    columns = ("id", "plan__name", "plan__removed_at", "verdict", "error", *times)
    return [test for test in tests.only(*columns)[:20] if test.plan.removed_at is None][:5]


def count(now: datetime) -> Counts:
    """Count every plan, in one query beside that for the policies."""
    live = Q(paused_at=None)
    return Counts(
        **Plan.objects.order_by().aggregate(
            live=Count("pk", filter=live),
            proven=Count("pk", filter=live & Plan.objects.all().proven(now)),
            risk=Count("pk", filter=live & Q(verdict__in=["bad", "warn"])),
            none=Count("pk", filter=live & Q(verdict="none")),
            ok=Count("pk", filter=live & Q(verdict="ok")),
            paused=Count("pk", filter=~live),
        )
    )


def sentence(counts: Counts) -> str:
    """Return the sentence that heads the list: what is proven, what is at risk, what is paused."""
    live, proven, risk = counts.live, counts.proven, counts.risk
    paused = f" {words.plural(counts.paused, 'plan')} {'is' if counts.paused == 1 else 'are'} paused."
    rest = paused if counts.paused else ""
    if not live:
        return f"Nothing is backed up now.{rest}" if counts.paused else "Nothing is backed up yet."
    at_risk = f"{risk:,} {'is' if risk == 1 else 'are'} at risk" if live > 1 else "it is at risk"
    if proven == live:
        start = "It is proven that it comes back" if live == 1 else f"It is proven that all {live:,} plans come back"
        return f"{start}, but {at_risk}.{rest}" if risk else f"{start}.{rest}"
    share = f"{proven:,} of {words.plural(live, 'plan')} {'is' if live == 1 or proven == 1 else 'are'} proven"
    start = f"A backup counts once it has been restored. {share}"
    return f"{start}; {at_risk}.{rest}" if risk else f"{start}; the rest waits for its first test.{rest}"


def says_when(plan: Plan) -> str:
    """Return the schedule in words; a plan whose schedule cannot be read says so and never breaks the list."""
    try:
        return schedule_words(Schedule.from_json(plan.schedule), plan.time_zone)
    except ScheduleError:
        return "On a schedule that cannot be read"


def verdict_words(plan: Plan, now: datetime) -> tuple[str, str]:
    """Return the badge of a plan: its kind and its words."""
    if plan.paused_at:
        return "idle", "Paused"
    if plan.verdict == "bad":
        return "bad", "At risk"
    if plan.verdict == "warn":
        return "warn", "At risk"
    if plan.verdict == "ok" and plan.proven_at:
        return "ok", f"Proven {words.ago(plan.proven_at, now)}"
    return "none", "Not proven yet"


def context(**more: Any) -> dict[str, Any]:
    """Return what every template of this room may use beside its own."""
    return {"verdicts": VERDICTS, "verdict_words": verdict_words, **more}
