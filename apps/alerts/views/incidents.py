"""The pages of incidents: the list, one incident, and what a person does with it."""

from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from apps.alerts import pages, services
from apps.alerts.forms import FilterForm, NoteForm
from apps.alerts.models import Incident
from apps.people.guard import me, require

PER_PAGE = 50


@require("alerts.read")
@require_safe
def incidents(request: HttpRequest) -> HttpResponse:
    """Every incident, the open ones first."""
    form = FilterForm(request.GET)
    form.is_valid()
    chosen = {name: form.cleaned_data.get(name, "") for name in form.fields}
    page = Paginator(Incident.objects.for_list(**chosen), PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "chosen": chosen,
        "form": form,
        "query": urlencode({name: value for name, value in chosen.items() if value}),
        "said": pages.incidents_sentence(timezone.now()),
    }
    return render(request, "alerts/incidents.html", context)


@require("alerts.read")
@require_safe
def incident(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """One incident: what is wrong, what to do, what happened."""
    return _incident(request, incident_id, NoteForm())


@require("alerts.act")
@require_POST
def acknowledge(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """Take an incident."""
    found = get_object_or_404(Incident.objects.visible(), pk=incident_id)
    if not services.acknowledge(actor=me(request), incident=found, now=timezone.now()):
        messages.warning(request, "Somebody took it before you, or it is mended. Nothing was changed.")
    return redirect("incident", found.pk)


@require("alerts.act")
@require_POST
def note(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """Write a note."""
    found = get_object_or_404(Incident.objects.visible(), pk=incident_id)
    form = NoteForm(request.POST)
    if not form.is_valid():
        return _incident(request, incident_id, form)
    services.add_note(actor=me(request), incident=found, text=form.cleaned_data["text"], now=timezone.now())
    return redirect("incident", found.pk)


@require("alerts.act")
@require_POST
def close(request: HttpRequest, incident_id: UUID) -> HttpResponse:
    """Close by a person's word."""
    found = get_object_or_404(Incident.objects.visible(), pk=incident_id)
    if services.close(actor=me(request), incident=found, now=timezone.now()):
        messages.success(request, "Closed. If it is still so, Mainstay opens it again at its next look.")
    return redirect("incident", found.pk)


def _incident(request: HttpRequest, incident_id: UUID, form: NoteForm) -> HttpResponse:
    people = Incident.objects.visible().select_related("acknowledged_by", "closed_by")
    found = get_object_or_404(people, pk=incident_id)
    context = {"incident": found, "entries": pages.timeline(found), "form": form}
    return render(request, "alerts/incident.html", context, status=422 if form.is_bound else 200)
