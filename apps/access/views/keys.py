"""One's own public keys: paste, see what was understood, keep, remove."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from apps.access import services
from apps.access.keys import leaked
from apps.access.models import Drift, PublicKey
from apps.access.pages import keys as page
from apps.access.services import Refused
from apps.people.guard import me, require
from apps.people.roles import may


@require("access.self")
@sensitive_post_parameters("text")
@require_http_methods(["GET", "HEAD", "POST"])
def mine(request: HttpRequest) -> HttpResponse:
    """Show one's keys and where they open; judge a paste, and keep what is good of it when asked to."""
    person, now = me(request), timezone.now()
    text = request.POST.get("text", "") if request.method == "POST" else ""
    pasted: list[services.Pasted] = []
    if text.strip():
        add = request.POST.get("act") == "add"
        pasted = (
            services.add_keys(actor=person, text=text, now=now) if add else services.look_at(person=person, text=text)
        )
        kept = [one for one in pasted if one.kept]
        if kept and len(kept) == len(pasted):
            messages.success(request, page.said_of(kept))
            return redirect("my-keys")
        if kept:
            messages.success(request, page.said_of(kept))
    context = {
        "picture": page.picture,
        "pasted": pasted,
        "text": page.again(pasted),
        "leaked": bool(text) and leaked(text),
        "wrong": "Paste a public key first." if request.method == "POST" and not text.strip() else "",
    }
    context |= page.servers_of(person, now)
    if not request.htmx:  # type: ignore[attr-defined] # django-htmx's middleware sets it
        context |= {"keys": list(PublicKey.objects.of(person)), "asked": list(Drift.objects.asked_of(person))}
    status = 422 if request.method == "POST" and not request.htmx else 200  # type: ignore[attr-defined] # django-htmx
    template = "access/_pasted.html" if request.htmx else "access/keys.html"  # type: ignore[attr-defined] # django-htmx
    return render(request, template, context, status=status)


@require("access.self")
@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, key_id: UUID) -> HttpResponse:
    """Take a key out of use: one's own, or anybody's for who manages access."""
    person = me(request)
    known = PublicKey.objects.select_related("person")
    key: PublicKey = get_object_or_404(
        known if may(person.role, "access.manage") else known.filter(person=person), pk=key_id
    )
    if request.method == "POST":
        try:
            services.remove_key(actor=person, key=key, lost="lost" in request.POST, now=timezone.now())
        except Refused as refused:
            messages.error(request, refused.sentence)
        else:
            messages.success(request, "The key is out of use. The servers follow within a minute.")
        return redirect("my-keys" if key.person_id == person.pk else "access")
    return render(request, "access/key_remove.html", {"key": key})
