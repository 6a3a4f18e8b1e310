"""The first page, the checklist, search and the heartbeat."""

from datetime import tzinfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from apps.core.jinja import Known, hand_over, nav_pages, zone
from apps.overview import flags, pages, reads
from apps.people.guard import me, require
from apps.people.roles import may


@require("overview.read")
def overview(request: HttpRequest) -> HttpResponse:
    """Show how things are, in one sentence first; the poll of the page asks for the upper part alone."""
    page = pages.first_page(timezone.now(), _zone(request), str(me(request).pk))
    marks = {"incidents": flags.of_trouble(page.trouble), "backups": flags.of_plans(page.plans)}
    hand_over(request, Known(page.pulse, marks))
    polled = request.headers.get("HX-Request") == "true"
    return render(request, "overview/_now.html" if polled else "overview/overview.html", {"page": page})


@require("overview.read")
def checklist(request: HttpRequest) -> HttpResponse:
    """Show every claim with its newest evidence."""
    return render(request, "overview/checklist.html", pages.checklist(timezone.now()))


@require("overview.read")
def jump(request: HttpRequest) -> HttpResponse:
    """Find plans, stores, people and pages by a part of their name."""
    text = request.GET.get("q", "").strip()[:80]
    role = me(request).role
    found = reads.found(text, may(role, "people.read")) if text else []
    wanted = text.casefold()
    pages_found = [
        page for page in nav_pages() if may(role, page.action) and wanted in f"{page.label} {page.words}".casefold()
    ]
    template = "overview/_found.html" if request.headers.get("HX-Request") == "true" else "overview/jump.html"
    return render(request, template, {"text": text, "found": found, "pages_found": pages_found})


@require("overview.read")
def pulse(request: HttpRequest) -> HttpResponse:
    """Show when Mainstay last looked."""
    return render(request, "core/_pulse.html")


def _zone(request: HttpRequest) -> tzinfo:
    return zone(me(request).time_zone or settings.MAINSTAY_TIME_ZONE)
