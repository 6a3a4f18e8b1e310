"""The form of a plan: new, edit, the preview while it is typed, and "Test connection" on both sides."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.backups import services
from apps.backups.facts import Trouble
from apps.backups.forms import PlanForm, SourceForm, StoreForm
from apps.backups.forms.plan import UNITS
from apps.backups.forms.source import as_uuid
from apps.backups.models import ConnectionTest, Plan, Source, Store
from apps.backups.pages import preview as previews
from apps.backups.pages.checked import Found, found
from apps.backups.schedule import WEEKDAYS, ordinal, zones
from apps.backups.services import Refused
from apps.people.guard import me, require
from apps.people.models import Person

_PLAN_FIELDS = {"prove_every": "prove_days", "goal_loss": "loss", "goal_back": "back"}
SECRETS = ("source-url", "source-password", "store-access_key", "store-secret_key")


class Forms:
    """The three forms of a plan's page, and what they were made from."""

    def __init__(self, person: Person, data: QueryDict | None = None, known: Plan | None = None) -> None:
        """Take what was typed, if anything, and the plan that is being changed, if any."""
        self.known = known
        self.plan = PlanForm(data, person=person, known=known)
        self.source = SourceForm(data, known=known.source if known else None)
        self.store = StoreForm(data, picked=known.store if known else Store.objects.order_by("name").first())
        self.checks: dict[str, Found] = {}

    def valid(self) -> bool:
        """Validate all three, so that every sentence is shown at once."""
        return all([self.plan.is_valid(), self.source.is_valid(), self.store.is_valid()])

    def ask_again(self) -> None:
        """Say which secrets must be typed again."""
        self.source.ask_again()
        self.store.ask_again()


@require("backups.plan")
@sensitive_post_parameters(*SECRETS)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Make a plan."""
    return _form(request, None)


@require("backups.plan")
@sensitive_post_parameters(*SECRETS)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, plan_id: UUID) -> HttpResponse:
    """Change a plan."""
    return _form(request, get_object_or_404(Plan.objects.for_page(), pk=plan_id))


@require("backups.plan")
@sensitive_post_parameters(*SECRETS)
@require_POST
def preview(request: HttpRequest) -> HttpResponse:
    """Answer what the plan would do, while it is typed."""
    forms = Forms(me(request), request.POST, _known(request))
    forms.valid()
    shown = previews.preview(forms.plan, forms.source, forms.store, timezone.now())
    return render(request, "backups/_preview.html", {"preview": shown})


@require("backups.plan")
@sensitive_post_parameters(*SECRETS)
@require_POST
def check_source(request: HttpRequest) -> HttpResponse:
    """Ask a worker whether the source can be reached."""
    form = SourceForm(request.POST, known=getattr(_known(request), "source", None))
    return render(request, "backups/_check.html", {"found": asked(form, me(request)), "id": "check-source"})


@require("backups.plan")
@sensitive_post_parameters(*SECRETS)
@require_POST
def check_store(request: HttpRequest) -> HttpResponse:
    """Ask a worker whether the store takes and gives; `store` in the form names one that is being changed."""
    known = Store.objects.filter(pk=as_uuid(request.POST.get("store", ""))).first()
    form = StoreForm(request.POST, known=known)
    return render(request, "backups/_check.html", {"found": asked(form, me(request)), "id": "check-store"})


@require("backups.plan")
@require_safe
def checked(request: HttpRequest, test_id: UUID) -> HttpResponse:
    """Show what a test found, to whoever asked for it: the form asks again and again, a browser without script once."""
    test = get_object_or_404(ConnectionTest, pk=test_id, asked_by=me(request))
    template = "backups/_check.html" if request.headers.get("HX-Request") else "backups/checked.html"
    return render(request, template, {"found": found(test, timezone.now()), "id": f"check-{test.side}"})


def asked(form: SourceForm | StoreForm, person: Person) -> Found:
    """Ask for a test of what was typed; what no worker need be asked for is one sentence at once."""
    if not form.is_valid():
        return Found(False, _first(form))
    now = timezone.now()
    try:
        what = form.target() if isinstance(form, SourceForm) else form.place()
        return found(services.ask_check(actor=person, what=what, now=now), now)
    except (Trouble, Refused) as wrong:
        return Found(False, wrong.sentence)


def _first(form: SourceForm | StoreForm) -> str:
    return next(str(found[0]) for found in form.errors.values())


def _known(request: HttpRequest) -> Plan | None:
    id_ = as_uuid(request.POST.get("plan", ""))
    found: Plan | None = Plan.objects.for_page().filter(pk=id_).first() if id_ else None
    return found


def _form(request: HttpRequest, known: Plan | None) -> HttpResponse:
    if request.method != "POST":
        return _render(request, Forms(me(request), None, known), 200)
    forms, act = Forms(me(request), request.POST, known), request.POST.get("act", "save")
    valid = forms.valid()
    if act == "test-source":
        forms.checks["source"] = asked(forms.source, me(request))
    elif act == "test-store":
        forms.checks["store"] = asked(forms.store, me(request))
    elif act != "preview" and valid:
        plan = _save(request, forms)
        if plan is not None:
            return _saved(request, plan, run=act == "run")
    forms.ask_again()
    return _render(request, forms, 200 if act in {"preview", "test-source", "test-store"} else 422)


def _save(request: HttpRequest, forms: Forms) -> Plan | None:
    """Write source, store and plan in one transaction; a refusal becomes a sentence at its field and writes nothing."""
    at: Any = forms.source
    try:
        with transaction.atomic():
            source = _source(request, forms)
            at = forms.store
            store = _store(request, forms)
            at = forms.plan
            spec, now = forms.plan.spec(source=source, store=store), timezone.now()
            if forms.known is None:
                return services.plan(actor=me(request), spec=spec, now=now)
            return services.change_plan(actor=me(request), plan=forms.known, spec=spec, now=now)
    except Refused as refused:
        field = refused.field
        if at is not forms.plan and field == "name":
            field = "label"
        at.put(_PLAN_FIELDS.get(field, field), refused.sentence)
        return None


def _source(request: HttpRequest, forms: Forms) -> Source:
    form, now = forms.source, timezone.now()
    if form.chosen is not None:
        return form.chosen
    values: dict[str, Any] = {
        "config": form.config(), "domain": form.domain(), "through": form.server, "now": now,
    }  # fmt: skip
    if forms.known is None:
        secret = form.secret() or {}
        return services.add_source(actor=me(request), name=form.title(), kind=form.got("kind"), secret=secret, **values)
    source, secret_or_kept = forms.known.source, form.secret()
    told = (form.title(), values["config"], values["domain"], form.server)
    same = (source.name, source.config, source.domain, source.through) == told
    if same and not secret_or_kept:
        return source
    if source.kind != Source.Kind.POSTGRESQL:
        secret_or_kept = None
    return services.change_source(actor=me(request), source=source, name=form.title(), secret=secret_or_kept, **values)


def _store(request: HttpRequest, forms: Forms) -> Store:
    form = forms.store
    if form.chosen is not None:
        return form.chosen
    return services.add_store(
        actor=me(request),
        name=form.title(),
        kind=form.got("kind"),
        config=form.config(),
        secret=form.secret() or {},
        domain=form.domain(),
        now=timezone.now(),
    )


def _saved(request: HttpRequest, plan: Plan, *, run: bool) -> HttpResponse:
    messages.success(request, f"{plan} is saved.")
    if run:
        try:
            services.back_up_now(actor=me(request), plan=plan, now=timezone.now())
        except Refused as refused:
            messages.warning(request, refused.sentence)
    return redirect("plan", plan.pk)


def _render(request: HttpRequest, forms: Forms, status: int) -> HttpResponse:
    plan, source, store = forms.plan, forms.source, forms.store
    if not plan.is_bound:  # the preview of a form that nobody touched yet
        plan, source, store = _as_if_typed(request, forms)
    stores = list(Store.objects.order_by("name"))
    sources = [] if forms.known else list(Source.objects.order_by("name"))
    people = list(Person.objects.active().order_by("name", "email"))
    names = dict.fromkeys([*zones(), str(forms.plan.shown("time_zone"))])
    context = {
        "forms": forms,
        "known": forms.known,
        "preview": previews.preview(plan, source, store, timezone.now()),
        "stores": stores,
        "store_options": [(str(row.pk), row.name) for row in stores],
        "sources": sources,
        "source_options": [(str(row.pk), f"{row.name} ({row.get_kind_display()})") for row in sources],
        "shared": forms.known.source.plans.count() - 1 if forms.known else 0,
        "people_options": [("", "Nobody"), *((str(row.pk), str(row)) for row in people)],
        "zone_options": [(name, name.replace("_", " ")) for name in names],
        "day_options": [*((str(day), ordinal(day)) for day in range(1, 31)), ("last", "last day")],
        "unit_options": [(unit, unit) for unit in UNITS],
        "weekdays": WEEKDAYS,
        "prove_choices": forms.plan.prove_choices,
    }
    return render(request, "backups/planning.html", context, status=status)


def _as_if_typed(request: HttpRequest, forms: Forms) -> tuple[PlanForm, SourceForm, StoreForm]:
    """Return the forms bound to what they show, so that the preview can speak before anything is typed."""
    data = QueryDict(mutable=True)
    for form in (forms.plan, forms.source, forms.store):
        for name, field in form.fields.items():
            value = form.initial.get(name, field.initial)
            if isinstance(value, list):
                data.setlist(form.add_prefix(name), [str(item) for item in value])
            elif value is not None and not isinstance(value, bool):
                data[form.add_prefix(name)] = str(value)
    bound = Forms(me(request), data, forms.known)
    bound.valid()
    return bound.plan, bound.source, bound.store
