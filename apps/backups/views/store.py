"""The stores: the list, new, edit, test, remove."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.backups import services
from apps.backups.forms import StoreForm
from apps.backups.models import Store
from apps.backups.pages import stores as shown
from apps.backups.pages.checked import Found
from apps.backups.services import Refused
from apps.backups.views.planning import asked
from apps.people.guard import me, require

SECRETS = ("store-access_key", "store-secret_key")


@require("backups.read")
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Show every store with what it holds."""
    rows = shown.stores(timezone.now())
    polled = request.headers.get("HX-Request") == "true"
    context = {
        "rows": rows,
        "troubled": [row.store for row in rows if row.store.trouble or row.lost],
        "looking": any(row.look for row in rows),
    }
    return render(request, "backups/_stores.html" if polled else "backups/stores.html", context)


@require("backups.plan")
@sensitive_post_parameters(*SECRETS)
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Add a store."""
    return _form(request, None)


@require("backups.plan")
@sensitive_post_parameters(*SECRETS)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Change a store."""
    return _form(request, get_object_or_404(Store, pk=store_id))


@require("backups.plan")
@require_POST
def check(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Ask a worker to test a store as it is kept."""
    store: Store = get_object_or_404(Store, pk=store_id)
    try:
        test = services.ask_check(actor=me(request), what=store.place(), now=timezone.now())
    except Refused as refused:
        messages.error(request, f"{store}: {refused.sentence}")
        return redirect("stores")
    return redirect("connection-test", test.pk)


@require("backups.run")
@require_POST
def look(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Ask a worker to look at a store now: what is there against what should be there."""
    store: Store = get_object_or_404(Store, pk=store_id)
    try:
        services.look_now(actor=me(request), store=store, now=timezone.now())
    except Refused as refused:
        messages.warning(request, refused.sentence)
    return redirect("stores")


@require("backups.plan")
@require_http_methods(["GET", "HEAD", "POST"])
def remove(request: HttpRequest, store_id: UUID) -> HttpResponse:
    """Ask for the name, then forget a store that no plan uses."""
    store: Store = get_object_or_404(Store, pk=store_id)
    wrong = ""
    if request.method == "POST":
        try:
            said = services.remove_store(
                actor=me(request), store=store, typed=request.POST.get("typed", ""), now=timezone.now()
            )
        except Refused as refused:
            wrong = refused.sentence
        else:
            messages.success(request, said or f"{store} was removed.")
            return redirect("stores")
    plans = list(store.plans.filter(removed_at=None).order_by("name")[:5])
    context = {"store": store, "plans": plans, "wrong": wrong}
    return render(request, "backups/store_remove.html", context, status=422 if wrong else 200)


def _form(request: HttpRequest, known: Store | None) -> HttpResponse:
    form = StoreForm(request.POST if request.method == "POST" else None, known=known)
    found: Found | None = None
    if request.method == "POST":
        valid = form.is_valid()
        if request.POST.get("act") == "test-store":
            found = asked(form, me(request))
        elif valid and (store := _save(request, form)) is not None:
            messages.success(request, f"{store} is saved.")
            return redirect("stores")
        form.ask_again()
    status = 200 if request.method != "POST" or found else 422
    return render(request, "backups/store.html", {"form": form, "known": known, "found": found}, status=status)


def _save(request: HttpRequest, form: StoreForm) -> Store | None:
    values: dict[str, Any] = {
        "actor": me(request),
        "name": form.title(),
        "config": form.config(),
        "domain": form.domain(),
        "now": timezone.now(),
    }
    try:
        if form.known is not None:
            secret = form.secret() if form.known.kind == Store.Kind.S3 else None
            return services.change_store(store=form.known, secret=secret, **values)
        return services.add_store(kind=form.got("kind"), secret=form.secret() or {}, **values)
    except Refused as refused:
        form.put({"name": "label", "prefix": "folder"}.get(refused.field, refused.field), refused.sentence)
        return None
