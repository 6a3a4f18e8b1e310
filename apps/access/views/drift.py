"""Drift: what was found on servers and was not agreed, deciding on it, and answering when one is asked."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access import services
from apps.access.models import AccessState, Drift
from apps.access.services import Refused
from apps.people.guard import me, require
from apps.people.models import Person
from apps.servers.models import Server

DONE = {
    "adopt": "Adopted on {}.",
    "ask": "Asked. The answer will stand beside the finding on {}.",
    "remove": "{} is told with the next push, within a minute.",
}


@require("access.read")
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show what waits for a decision, the worst first, by server."""
    drifts = sorted(Drift.objects.for_list(), key=lambda one: not one.detail.get("bad"))
    context = {
        "drifts": drifts,
        "adopted": list(Drift.objects.for_record()),
        "states": list(AccessState.objects.for_list()),
        "people": [("", "Nobody yet"), *((str(one.pk), str(one)) for one in Person.objects.active().order_by("name"))],
        "can_remove": services.can_remove,
    }
    return render(request, "access/drift.html", context)


@require("access.manage", recent=True)
@require_POST
def decide(request: HttpRequest, drift_id: UUID) -> HttpResponse:
    """Adopt, ask, or remove."""
    drift: Drift = get_object_or_404(Drift.objects.select_related("server"), pk=drift_id)
    answer, now = request.POST.get("answer", ""), timezone.now()
    try:
        services.decide(actor=me(request), drift=drift, answer=answer, person=_person(request), now=now)
    except Refused as refused:
        messages.error(request, refused.sentence)
    else:
        messages.success(request, DONE[answer].format(drift.server))
        if answer == "remove" or drift.kind == "account":
            services.ask_push(server=drift.server, reason="drift", asked_by=me(request), now=now)
    return redirect("access-drift")


@require("access.self")
@require_POST
def reply(request: HttpRequest, drift_id: UUID) -> HttpResponse:
    """Say whether what one was asked about is one's own."""
    drift: Drift = get_object_or_404(Drift.objects.select_related("server"), pk=drift_id)
    mine = request.POST.get("said") == "mine"
    try:
        services.reply(actor=me(request), drift=drift, mine=mine)
    except Refused as refused:
        messages.error(request, refused.sentence)
    else:
        messages.success(request, "Thank you. An admin decides now.")
    return redirect("my-keys")


@require("access.manage", recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def mode(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Show what would stop working, then let a server read only Mainstay's key files, or its old ones as well."""
    server: Server = get_object_or_404(Server, pk=server_id)
    state: AccessState = get_object_or_404(AccessState.objects.for_list(), server=server)
    other = "enforced" if state.mode == "adopt" else "adopt"
    wrong = ""
    if request.method == "POST":
        try:
            services.change_mode(actor=me(request), state=state, mode=request.POST.get("mode", ""), now=timezone.now())
        except Refused as refused:
            wrong = refused.sentence
        else:
            messages.success(request, f"{server} is told with the next push, within a minute.")
            return redirect("access-drift")
    context = {
        "state": state,
        "other": other,
        "wrong": wrong,
        "stops": list(Drift.objects.elsewhere(server)) if other == "enforced" else [],
        "admins": services.surely_in(state, timezone.now()),
    }
    return render(request, "access/mode.html", context, status=422 if wrong else 200)


def _person(request: HttpRequest) -> Person | None:
    try:
        known: Person | None = Person.objects.active().filter(pk=UUID(request.POST.get("person", ""))).first()
    except ValueError:
        return None
    return known
