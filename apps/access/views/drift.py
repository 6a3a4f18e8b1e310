"""Drift: what was found on servers and was not agreed, and deciding on it."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from apps.access import services
from apps.access.models import AccessState, Drift
from apps.access.services import Refused
from apps.people.guard import me, require


@require("access.read")
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show what waits for a decision, the worst first, by server."""
    drifts = sorted(Drift.objects.for_list(), key=lambda one: not one.detail.get("bad"))
    context = {"drifts": drifts, "states": list(AccessState.objects.managed().order_by("server__name"))}
    return render(request, "access/drift.html", context)


@require("access.manage", recent=True)
@require_POST
def decide(request: HttpRequest, drift_id: UUID) -> HttpResponse:
    """Adopt, ask, or remove."""
    drift: Drift = get_object_or_404(Drift.objects.select_related("server"), pk=drift_id)
    answer = request.POST.get("answer", "")
    try:
        services.decide(
            actor=me(request), drift=drift, answer=answer, note=request.POST.get("note", ""), now=timezone.now()
        )
    except Refused as refused:
        messages.error(request, refused.sentence)
    else:
        said = {"adopt": "Adopted", "ask": "Marked as asked", "remove": "It is revoked with the next push"}[answer]
        messages.success(request, f"{said}: {drift.server}.")
        if answer == "remove":
            services.ask_push(server=drift.server, reason="drift", asked_by=me(request), now=timezone.now())
    return redirect("access-drift")
