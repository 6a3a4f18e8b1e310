"""Someone is leaving: one button, and a clock per server until the proof."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from apps.access import services
from apps.access.models import AccessState, Departure
from apps.access.services.leaving import PROOFS
from apps.people.guard import me, require
from apps.people.models import Person
from apps.people.services import RefusedError

TITLES = {
    "keys": "Keys gone",
    "revoked": "Revoked wherever they hide",
    "sessions": "Sessions ended",
    "locked": "Account locked",
    "login": "Login refused",
}


@require("access.manage", recent=True)
@require_http_methods(["GET", "HEAD", "POST"])
def begin(request: HttpRequest) -> HttpResponse:
    """Choose who leaves, type the name, and begin."""
    person: Person = get_object_or_404(Person, pk=_pk(request), is_active=True)
    wrong = ""
    if request.method == "POST":
        if request.POST.get("typed", "").strip() != str(person):
            wrong = f"Type {person} to end their access. Nothing was changed."
        else:
            try:
                departure = services.off_board(actor=me(request), person=person, now=timezone.now())
            except RefusedError as refused:
                wrong = str(refused)
            else:
                return redirect("access-departure", departure.pk)
    context = {"leaver": person, "wrong": wrong, "servers": AccessState.objects.managed().count()}
    return render(request, "access/leaving.html", context, status=422 if wrong else 200)


@require("access.read")
@require_safe
def departure(request: HttpRequest, departure_id: UUID) -> HttpResponse:
    """Show the clock of each server until the proof, and what remains to do."""
    found: Departure = get_object_or_404(Departure.objects.select_related("person", "asked_by"), pk=departure_id)
    goodbyes = list(found.goodbyes.for_page())
    context = {
        "departure": found,
        "goodbyes": goodbyes,
        "proven": sum(one.proven_at is not None for one in goodbyes),
        "proofs": [(name, TITLES[name]) for name in PROOFS],
    }
    part = request.htmx and found.ended_at is None  # type: ignore[attr-defined] # django-htmx's middleware sets it
    return render(request, "access/_clocks.html" if part else "access/departure.html", context)


def _pk(request: HttpRequest) -> UUID:
    try:
        return UUID(request.POST.get("person") or request.GET.get("person", ""))
    except ValueError:
        return UUID(int=0)
