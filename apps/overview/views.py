"""The first page, the checklist, search and the heartbeat."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.people.guard import require


@require("overview.read")
def overview(request: HttpRequest) -> HttpResponse:
    """Show how things are, in one sentence first."""
    return render(request, "overview/overview.html")


@require("overview.read")
def checklist(request: HttpRequest) -> HttpResponse:
    """Show every claim with its newest evidence."""
    return render(request, "overview/checklist.html")


@require("overview.read")
def jump(request: HttpRequest) -> HttpResponse:
    """Find plans, stores, people and pages."""
    return render(request, "overview/jump.html")


@require("overview.read")
def pulse(request: HttpRequest) -> HttpResponse:
    """Show when Mainstay last looked."""
    return render(request, "overview/pulse.html")
