"""The list of servers, one server with its charts, and its limits."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from apps.people.guard import me, require
from apps.servers import services
from apps.servers.models import Server
from apps.servers.pages import limits as limit_rows
from apps.servers.pages import listing
from apps.servers.pages.server import RANGES, Charts, charts_of, ports_of, services_of
from apps.servers.services import Refused


@require("servers.read")
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show every server, those that need somebody first; a search by name, address, note or tag."""
    everything = list(Server.objects.for_list())
    asked = request.GET.get("q", "").strip()[:80]
    shown = [server for server in everything if server.matches(asked)]
    context = {
        "rows": listing.rows(shown),
        "total": len(everything),
        "said": listing.said(everything),
        "q": asked,
        "worst": next((server for server in everything if server.verdict == "bad"), None),
    }
    return render(request, "servers/index.html", context)


@require("servers.read")
@require_safe
def server(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Show what is true of one server now, and since when."""
    found: Server = get_object_or_404(Server.objects.select_related("facts", "owner"), pk=server_id)
    now = timezone.now()
    facts = getattr(found, "facts", None)
    context: dict[str, Any] = {
        "server": found,
        "facts": facts.data if facts else {},
        "facts_at": facts.taken_at if facts else None,
        "charts_of": _charts_of(request, found, now),
        "ranges": RANGES,
        "services": services_of(facts.data.get("services") if facts else None),
        "ports": ports_of(facts.data.get("listeners") if facts else None),
        "stopped": found.failure == "host_key" or found.host_keys.waiting().exists(),
    }
    return render(request, "servers/server.html", context)


@require("servers.read")
@require_safe
def charts(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Draw the charts alone, for another time."""
    found: Server = get_object_or_404(Server, pk=server_id)
    context = {
        "server": found,
        "charts_of": _charts_of(request, found, timezone.now()),
        "ranges": RANGES,
    }
    return render(request, "servers/_charts.html", context)


@require("servers.manage")
@require_http_methods(["GET", "HEAD", "POST"])
def limits(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Change when a figure is trouble."""
    found: Server = get_object_or_404(Server, pk=server_id)
    rows, wrong = limit_rows.rows(found), ""
    if request.method == "POST":
        rows, changed, wrong = limit_rows.read(found, request.POST)
        if not wrong:
            try:
                services.change_limits(actor=me(request), server=found, limits=changed, now=timezone.now())
            except Refused as refused:
                wrong = refused.sentence
            else:
                messages.success(request, f"The limits of {found} are saved.")
                return redirect("server", found.pk)
    context = {"server": found, "rows": rows, "wrong": wrong}
    return render(request, "servers/limits.html", context, status=422 if request.method == "POST" else 200)


def _charts_of(request: HttpRequest, found: Server, now: datetime) -> Charts:
    return charts_of(found, request.GET.get("range", "24h"), now, everything="all" in request.GET)
