"""The pages of the team, the audit log and one's own profile."""

import uuid
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from apps.people import services
from apps.people.forms import AuditFilterForm, InviteForm, ProfileForm, RoleForm
from apps.people.guard import me, require
from apps.people.links import address
from apps.people.models import AuditEntry, Invitation, Person
from apps.people.roles import outranks

PER_PAGE = 50


@require("people.read")
@require_safe
def team(request: HttpRequest) -> HttpResponse:
    """Who is here, with which role, a second factor or not; and who is invited."""
    people = list(Person.objects.for_team())
    active = [person for person in people if person.is_active]
    context = {
        "active": active,
        "left": [person for person in people if not person.is_active],
        "invitations": Invitation.objects.for_team(),
        "bare": [person for person in active if not person.second_factor],
    }
    return render(request, "people/team.html", context)


@require("people.manage", recent=True)
def invite(request: HttpRequest) -> HttpResponse:
    """Invite somebody; the link is shown once."""
    form = InviteForm(request.POST or None, actor=me(request))
    token = ""
    if request.method == "POST" and form.is_valid():
        try:
            _, token = services.invite(actor=me(request), now=timezone.now(), **form.cleaned_data)
        except services.RefusedError as refused:
            form.add_error(None, str(refused))
    link = address("people-join-open", token) if token else ""
    return render(request, "people/invite.html", {"form": form, "link": link})


@require("people.manage", recent=True)
@require_POST
def withdraw(request: HttpRequest, invitation_id: uuid.UUID) -> HttpResponse:
    """Take an invitation back."""
    invitation = get_object_or_404(Invitation, pk=invitation_id)
    return _told(
        request,
        f"The invitation for {invitation.email} no longer works.",
        services.withdraw,
        actor=me(request),
        invitation=invitation,
        now=timezone.now(),
    )


@require("people.manage", recent=True)
@require_safe
def person(request: HttpRequest, person_id: uuid.UUID) -> HttpResponse:
    """One person: their role, and leaving."""
    found = get_object_or_404(Person.objects.for_team(), pk=person_id)
    asks = me(request)
    context = {
        "found": found,
        "form": RoleForm(initial={"role": found.role}, actor=asks),
        "manageable": found.is_active and outranks(asks.role, found.role),
        "plans": found.plans.count() if hasattr(found, "plans") else 0,
    }
    return render(request, "people/person.html", context)


@require("people.manage", recent=True)
@require_POST
def role(request: HttpRequest, person_id: uuid.UUID) -> HttpResponse:
    """Change somebody's role."""
    found = get_object_or_404(Person, pk=person_id)
    form = RoleForm(request.POST, actor=me(request))
    if not form.is_valid():
        messages.error(request, "You cannot give that role. Nothing was changed.")
        return redirect("people-person", person_id)
    chosen = form.cleaned_data["role"]
    return _told(
        request,
        f"{found} has the role {chosen} now.",
        services.change_role,
        actor=me(request),
        person=found,
        role=chosen,
    )


@require("people.manage", recent=True)
@require_POST
def leave(request: HttpRequest, person_id: uuid.UUID) -> HttpResponse:
    """Somebody is leaving."""
    found = get_object_or_404(Person, pk=person_id)
    return _told(
        request,
        f"{found} cannot sign in any more, and every session of theirs has ended.",
        services.leave,
        actor=me(request),
        person=found,
        now=timezone.now(),
    )


@require("people.audit")
@require_safe
def audit(request: HttpRequest) -> HttpResponse:
    """Who did what, the newest first."""
    form = AuditFilterForm(request.GET)
    form.is_valid()
    chosen = {key: str(form.cleaned_data.get(key) or "") for key in ("who", "what", "q")}
    entries = AuditEntry.objects.for_page(actor=chosen["who"], verb=chosen["what"], text=chosen["q"])
    page = Paginator(entries, PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "chosen": chosen,
        "query": urlencode({key: value for key, value in chosen.items() if value}),
        "people": [("", "Everybody"), *((str(one.pk), str(one)) for one in Person.objects.order_by("name"))],
        "rooms": [("", "Everything"), ("people", "People"), ("backups", "Backups"), ("alerts", "Alerts")],
    }
    return render(request, "people/audit.html", context)


@require("people.self")
def profile(request: HttpRequest) -> HttpResponse:
    """One's own name and time zone, and the ways to sign in."""
    asks = me(request)
    form = ProfileForm(request.POST or None, initial={"name": asks.name, "time_zone": asks.time_zone})
    if request.method == "POST" and form.is_valid():
        services.save_profile(actor=asks, **form.cleaned_data)
        messages.success(request, "Your profile is saved.")
        return redirect("profile")
    return render(request, "people/profile.html", {"form": form})


@require("people.self")
@require_POST
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    """End one of one's own sessions."""
    if services.end_session(actor=me(request), session_id=session_id):
        messages.success(request, "That session has ended.")
    else:
        messages.warning(request, "That session had ended already. Nothing was changed.")
    return redirect("usersessions_list")


def _told(request: HttpRequest, done: str, verb: Any, **arguments: Any) -> HttpResponseRedirect:
    """Call a service and say how it went, on the team's page."""
    try:
        verb(**arguments)
    except services.RefusedError as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, done)
    return HttpResponseRedirect(reverse("people"))
