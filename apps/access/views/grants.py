"""Who reaches what: the matrix of people and servers, and granting."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.access import services
from apps.access.forms import GrantForm
from apps.access.models import AccessState, Asking, Departure, Drift, Grant
from apps.access.pages import keys as page
from apps.access.pages.matrix import matrix_of
from apps.access.services import Refused
from apps.people.guard import me, require
from apps.servers.models import Server


@require("access.read")
@require_safe
def matrix(request: HttpRequest) -> HttpResponse:
    """Show wanted, actual and their difference for everybody on every server."""
    now = timezone.now()
    context = {
        "matrix": matrix_of(now),
        "grants": list(Grant.objects.for_list(now)),
        "drifts": Drift.objects.for_list().count(),
        "departures": list(Departure.objects.unproven()),
        "askings": page.asked_with_keys(),
    }
    return render(request, "access/matrix.html", context)


@require("access.manage")
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Grant access."""
    form = GrantForm(request.POST if request.method == "POST" else None, zone=me(request).time_zone, given=request.GET)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.grant(actor=me(request), now=timezone.now(), **form.values())
        except Refused as refused:
            form.add_error(refused.field or None, refused.sentence)
        else:
            messages.success(request, f"Granted: {made}. The servers get it within a minute.")
            return redirect("access")
    return render(request, "access/grant.html", {"form": form}, status=422 if request.method == "POST" else 200)


@require("access.manage")
@require_POST
def end(request: HttpRequest, grant_id: UUID) -> HttpResponse:
    """Take a grant back."""
    grant: Grant = get_object_or_404(Grant.objects.select_related("person", "server"), pk=grant_id)
    try:
        services.end_grant(actor=me(request), grant=grant, now=timezone.now())
    except Refused as refused:
        messages.error(request, refused.sentence)
    else:
        messages.success(request, f"Taken back: {grant}. The servers follow within a minute.")
    return redirect("access")


@require("access.manage")
@require_POST
def look(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Look at one server now: drift, and what is to be changed there."""
    server: Server = get_object_or_404(Server.objects.managed(), pk=server_id)
    asked = services.ask_push(server=server, reason="person", asked_by=me(request), now=timezone.now())
    messages.success(request, f"{server} is being looked at." if asked else f"{server} is being looked at already.")
    return redirect("access")


@require("access.self")
@require_POST
def ask(request: HttpRequest) -> HttpResponse:
    """Ask for access to some servers, for oneself."""
    chosen = set(request.POST.getlist("server"))
    servers = [state.server for state in AccessState.objects.for_list() if str(state.server_id) in chosen]
    try:
        made = services.ask(actor=me(request), servers=servers, why=request.POST.get("why", ""), now=timezone.now())
    except Refused as refused:
        messages.error(request, refused.sentence)
    else:
        names = ", ".join(asking.server.name for asking in made)
        messages.success(request, f"Asked for {names}. An admin decides." if made else "You asked for that already.")
    return redirect("my-keys")


@require("access.manage")
@require_POST
def answer(request: HttpRequest, asking_id: UUID) -> HttpResponse:
    """Grant what somebody asked for, or decline it."""
    asking: Asking = get_object_or_404(Asking.objects.select_related("person", "server"), pk=asking_id)
    yes = request.POST.get("answer") == "yes"
    try:
        services.answer(actor=me(request), asking=asking, yes=yes, now=timezone.now())
    except Refused as refused:
        messages.error(request, refused.sentence)
    else:
        granted = f"Granted: {asking.person} on {asking.server}. The server gets it within a minute."
        messages.success(request, granted if yes else f"Declined: {asking.person} on {asking.server}.")
    return redirect("access")
