"""Connecting a server: new, the script to paste, the host key to compare, another level, another address, removing."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.people.guard import me, require
from apps.servers import services
from apps.servers.forms import ServerForm
from apps.servers.models import Server
from apps.servers.pages.connect import stage_of
from apps.servers.services import Refused

LEVELS = (
    ("observe", "Observe", "Reads figures and facts. Nothing runs as root.", "eye"),
    ("operate", "Operate", "Also reads as root, and streams database dumps.", "wrench"),
    ("manage", "Manage access", "Also makes accounts and keys for people.", "users"),
)
FIELDS = ("name", "address", "port", "tags", "seen_from", "note")


@require("servers.manage")
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Write a server down, then go on to its script."""
    form = ServerForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        values: dict[str, Any] = {name: form.cleaned_data[name] for name in (*FIELDS, "level")}
        try:
            server = services.add(actor=me(request), now=timezone.now(), **values)
        except Refused as refused:
            form.add_error(refused.field or None, refused.sentence)
        else:
            return redirect("server-connect", server.pk)
    return render(
        request,
        "servers/form.html",
        {"form": form, "known": None, "levels": LEVELS, "own": None},
        status=_status(request),
    )


@require("servers.manage")
@require_safe
def own(request: HttpRequest) -> HttpResponse:
    """Fill in the address from which a server would see Mainstay, as far as that can be known from here."""
    typed = request.GET.get("seen_from", "").strip()
    found = services.own_address(request.GET.get("address", ""))
    form = ServerForm(initial={"seen_from": typed or (found.address if found and found.certain else "")})
    return render(request, "servers/_own.html", {"form": form, "own": found})


@require("servers.manage")
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Change its name, address, tags."""
    server: Server = get_object_or_404(Server, pk=server_id)
    form = ServerForm(request.POST if request.method == "POST" else None, known=server)
    if request.method == "POST" and form.is_valid():
        values: dict[str, Any] = {name: form.cleaned_data[name] for name in FIELDS}
        try:
            services.change(actor=me(request), server=server, now=timezone.now(), **values)
        except Refused as refused:
            form.add_error(refused.field or None, refused.sentence)
        else:
            messages.success(request, f"{server} is saved.")
            return redirect("server", server.pk)
    return render(request, "servers/form.html", {"form": form, "known": server, "own": None}, status=_status(request))


@require("servers.manage")
@require_safe
def connect(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Show what to paste on the server, then its host keys to compare, then that it answers."""
    server: Server = get_object_or_404(Server, pk=server_id)
    context: dict[str, Any] = {"server": server, "stage": stage_of(server, timezone.now())}
    if request.htmx:  # type: ignore[attr-defined] # django-htmx's middleware sets it
        return render(request, "servers/_stage.html", context)
    context |= {"script": services.script(server), "levels": LEVELS}
    return render(request, "servers/connect.html", context)


@require("servers.manage")
@require_POST
def look(_request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Ask for a look at the host keys that the server shows."""
    server: Server = get_object_or_404(Server, pk=server_id)
    services.ask_scan(server=server, now=timezone.now())
    return redirect("server-connect", server.pk)


@require("servers.manage", recent=True)
@require_POST
def pin(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Pin the host keys that were compared."""
    server: Server = get_object_or_404(Server, pk=server_id)
    try:
        services.pin_host_key(
            actor=me(request),
            server=server,
            fingerprints=request.POST.getlist("fingerprint"),
            typed=request.POST.get("typed", ""),
            now=timezone.now(),
        )
    except Refused as refused:
        messages.error(request, refused.sentence)
    else:
        messages.success(request, f"The host key of {server} is pinned. Any other one stops Mainstay at once.")
    return redirect("server-connect", server.pk)


@require("servers.manage", recent=True)
@require_POST
def keep(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Go on with the pinned host key, which a stopped server shows again."""
    server: Server = get_object_or_404(Server, pk=server_id)
    try:
        services.keep_host_key(actor=me(request), server=server, now=timezone.now())
    except Refused as refused:
        messages.error(request, refused.sentence)
    else:
        messages.success(request, f"Mainstay speaks with {server} again, by the host key that was pinned before.")
    return redirect("server-connect", server.pk)


@require("servers.manage")
@require_POST
def level(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Choose another level; the new script shows what to paste."""
    server: Server = get_object_or_404(Server, pk=server_id)
    chosen = request.POST.get("level", "")
    try:
        services.change_level(actor=me(request), server=server, level=chosen, now=timezone.now())
    except ValueError:
        messages.error(request, "Choose one of the three levels. Nothing was changed.")
    return redirect("server-connect", server.pk)


@require("servers.manage")
@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, server_id: UUID) -> HttpResponse:
    """Ask for the name, then forget the server."""
    server: Server = get_object_or_404(Server, pk=server_id)
    wrong = ""
    if request.method == "POST":
        try:
            services.remove(actor=me(request), server=server, typed=request.POST.get("typed", ""), now=timezone.now())
        except Refused as refused:
            wrong = refused.sentence
        else:
            messages.success(request, f"{server} was removed.")
            return redirect("servers")
    context = {"server": server, "wrong": wrong}
    return render(request, "servers/remove.html", context, status=422 if wrong else 200)


def _status(request: HttpRequest) -> int:
    return 422 if request.method == "POST" else 200
