"""The page guard: every view names its action; the role is checked against the one table in roles.py."""

import time
from collections.abc import Callable
from functools import wraps
from typing import cast
from urllib.parse import urlencode, urlsplit

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import get_authentication_records
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from apps.people.models import Person
from apps.people.roles import ACTIONS, may

View = Callable[..., HttpResponseBase]

NOT_SENT = "Nothing was changed. Confirm that it is you, then send the form again."


def require(action: str, *, recent: bool = False) -> Callable[[View], View]:
    """Guard a view: a signed-in person whose role may do `action`; with `recent`, who signed in within five minutes.

    Raises LookupError at import time for an action that the table does not hold. A form that arrives without a recent
    sign-in is not kept (it may hold a secret): the person confirms, returns to the form's page and reads that nothing
    was changed.
    """
    if action not in ACTIONS:
        raise LookupError(f"no such action in apps/people/roles.py: {action}")

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not may(request.user.role, action):
                return refuse(request)
            if recent and not recently(request):
                return confirm(request)
            return view(request, *args, **kwargs)

        guarded.action = action  # type: ignore[attr-defined]
        guarded.recent = recent  # type: ignore[attr-defined]
        return guarded

    return decorate


def me(request: HttpRequest) -> Person:
    """Return the person behind a guarded request: `require` let nobody else in."""
    return cast("Person", request.user)


def recently(request: HttpRequest) -> bool:
    """Return whether this session saw a password, a code or a passkey of this person within the time-out (seconds).

    allauth's own check lets a person without any method pass and does not count the sign-in itself; this one needs a
    record in every case.
    """
    records = get_authentication_records(request, request.user)
    return bool(records) and 0 <= time.time() - records[-1]["at"] < settings.ACCOUNT_REAUTHENTICATION_TIMEOUT


def public(view: View) -> View:
    """Mark one of the few views that need no sign-in; tests/people/test_walk.py holds the list of them."""

    @wraps(view)
    def open_view(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        return view(request, *args, **kwargs)

    open_view.public = True  # type: ignore[attr-defined]
    return login_not_required(open_view)


def message(request: HttpRequest, *, title: str, said: str, verb: str, url: str, status: int) -> HttpResponse:
    """Return a page of one message and one way on (templates/core/message.html)."""
    kind = "bad" if status >= 400 else "none"
    context = {"title": title, "said": said, "verb": verb, "url": url, "kind": kind}
    return render(request, "core/message.html", context, status=status)


def refuse(request: HttpRequest) -> HttpResponse:
    """Return the page for a role that may not do this."""
    return message(
        request,
        title="Your role does not allow this",
        said="Nothing was changed. An owner or an admin can give you another role on the People page.",
        verb="Go to the overview",
        url="/",
        status=403,
    )


def confirm(request: HttpRequest) -> HttpResponseBase:
    """Send the person to confirm that it is them, and back to where they were."""
    back = request.get_full_path()
    if request.method not in {"GET", "HEAD"}:
        messages.warning(request, NOT_SENT)
        back = _page_of_the_form(request)
    elif request.headers.get("HX-Request"):
        back = _page_of_the_form(request)
    methods = get_adapter().get_reauthentication_methods(request.user)
    where = methods[0]["url"] if methods else reverse("account_login")
    target = f"{where}?{urlencode({'next': back})}"
    if request.headers.get("HX-Request"):
        return HttpResponse(headers={"HX-Redirect": target})
    return HttpResponseRedirect(target)


def _page_of_the_form(request: HttpRequest) -> str:
    source = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(
        source, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return "/"
    parts = urlsplit(source)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return path if path.startswith("/") and not path.startswith("//") else "/"
