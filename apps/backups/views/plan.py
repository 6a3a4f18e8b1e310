"""The list of plans, the page of one plan, and what a person does there."""

from datetime import datetime
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.backups import services
from apps.backups.models import Plan
from apps.backups.pages import ladder, plans
from apps.backups.pages import plan as shown
from apps.backups.services import Refused
from apps.core.jinja import zone
from apps.people.guard import me, require


def _plan(plan_id: UUID) -> Plan:
    found: Plan = get_object_or_404(Plan.objects.for_page(), pk=plan_id)
    return found


@require("backups.read")
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show the list of plans."""
    return render(request, "backups/index.html", plans.context(list=plans.plan_list(request.GET)))


@require("backups.read")
@require_safe
def page(request: HttpRequest, plan_id: UUID) -> HttpResponse:
    """Show one plan."""
    plan, now = _plan(plan_id), timezone.now()
    show = request.GET.get("show", "all")
    show = show if show in shown.SHOWS else "all"
    lines, older = shown.runs(plan, show, _moment(request.GET.get("before", "")))
    newest = (
        plan.backups.good().only("plan", "id", "started_at", "finished_at", "size", "source_bytes", "taken_at").first()
    )
    context = {
        "plan": plan,
        "when_said": plans.says_when(plan),
        "plan_zone": zone(plan.time_zone),
        "badge": plans.verdict_words(plan, now),
        "lose": shown.would_lose(plan, now),
        "totals": shown.totals(plan),
        "newest": newest,
        "newest_took": shown.seconds(newest) if newest else None,
        "under": shown.under_way(plan, now),
        "proof": (proof := shown.latest_proof(plan)),
        "steps": ladder.ladder(proof) if proof else [],
        "lines": lines,
        "older": older,
        "show": show,
        "shows": shown.SHOWS,
        "tally": shown.tally(plan, now),
        "shelves": shown.shelves(plan, now),
        "trend": shown.trend(plan, zone(plan.time_zone)),
    }
    return render(request, "backups/plan.html", context)


@require("backups.read")
@require_safe
def progress(request: HttpRequest, plan_id: UUID) -> HttpResponse:
    """Answer the poll of a plan's page: what is under way, or that the page should be read again."""
    plan = _plan(plan_id)
    under = shown.under_way(plan, timezone.now())
    if not under and request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Refresh": "true"})
    if not request.headers.get("HX-Request"):
        return redirect("plan", plan_id)
    return render(request, "backups/_progress.html", {"plan": plan, "under": under})


@require("backups.run")
@require_POST
def back_up(request: HttpRequest, plan_id: UUID) -> HttpResponse:
    """Back up now."""
    try:
        services.back_up_now(actor=me(request), plan=_plan(plan_id), now=timezone.now())
    except Refused as refused:
        messages.warning(request, refused.sentence)
    return redirect("plan", plan_id)


@require("backups.run")
@require_POST
def test(request: HttpRequest, plan_id: UUID) -> HttpResponse:
    """Test a restore of the newest good backup."""
    newest = _plan(plan_id).backups.good().select_related("plan", "store").first()
    if newest is None:
        messages.warning(request, "There is no backup to restore yet. Back up first; nothing was started.")
        return redirect("plan", plan_id)
    try:
        services.test_now(actor=me(request), backup=newest, now=timezone.now())
    except Refused as refused:
        messages.warning(request, refused.sentence)
    return redirect("plan", plan_id)


test.__test__ = False  # type: ignore[attr-defined]  # pytest must not take the view for a test


@require("backups.plan")
@require_POST
def pause(request: HttpRequest, plan_id: UUID) -> HttpResponse:
    """Pause a plan."""
    plan = _plan(plan_id)
    services.pause(actor=me(request), plan=plan, now=timezone.now())
    messages.success(request, f"{plan} is paused: no backups are taken until somebody resumes it.")
    return redirect("plan", plan_id)


@require("backups.plan")
@require_POST
def resume(request: HttpRequest, plan_id: UUID) -> HttpResponse:
    """Resume a plan."""
    plan = _plan(plan_id)
    services.resume(actor=me(request), plan=plan, now=timezone.now())
    messages.success(request, f"{plan} runs again.")
    return redirect("plan", plan_id)


@require("backups.plan")
@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, plan_id: UUID) -> HttpResponse:
    """Ask for the name, then remove a plan; its backups stay in the store."""
    plan, wrong = _plan(plan_id), ""
    if request.method == "POST":
        try:
            said = services.remove_plan(
                actor=me(request), plan=plan, typed=request.POST.get("typed", ""), now=timezone.now()
            )
        except Refused as refused:
            wrong = refused.sentence
        else:
            messages.success(request, said)
            return redirect("backups")
    context = {"plan": plan, "wrong": wrong, "totals": shown.totals(plan)}
    return render(request, "backups/plan_remove.html", context, status=422 if wrong else 200)


def _moment(value: str) -> datetime | None:
    try:
        found = parse_datetime(value)
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
