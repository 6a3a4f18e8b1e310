"""The doors without a sign-in: first set-up, an invitation, a sign-in link. A token leaves the address bar at once."""

from collections.abc import Callable

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_safe

from apps.people import services
from apps.people.forms import JoinForm, NewPasswordForm, SetUpForm, default_zone
from apps.people.guard import message, public
from apps.people.models import Invitation, Link, Person

KEPT = "people.door"  # in the session: the digest of the token, never the token


def _opener(door: str) -> Callable[..., HttpResponseBase]:
    @public
    @require_safe
    def opened(request: HttpRequest, token: str) -> HttpResponseBase:
        request.session[KEPT] = {"door": door, "digest": services.digest_of(token)}
        return redirect(door)

    return opened


set_up_open = _opener("people-set-up")
join_open = _opener("people-join")
link_open = _opener("people-link")


@public
@sensitive_post_parameters("password")
def set_up(request: HttpRequest) -> HttpResponseBase:
    """The first owner makes an account."""
    digest = _digest(request, "people-set-up")
    if services.open_link(kind=Link.Kind.SETUP, digest=digest, now=timezone.now()) is None:
        return _spent(
            request, "It was used or ran out. Start Mainstay again; it prints a new one as long as nobody owns it."
        )
    form = SetUpForm(request.POST or None)
    return _answer(
        request,
        form,
        "people/set_up.html",
        lambda: services.set_up(digest=digest, time_zone=default_zone(), now=timezone.now(), **form.cleaned_data),
    )


@public
@sensitive_post_parameters("password")
def join(request: HttpRequest) -> HttpResponseBase:
    """Somebody who was invited makes an account."""
    digest = _digest(request, "people-join")
    invitation = Invitation.objects.open(timezone.now()).filter(token_hash=digest).select_related("invited_by").first()
    if invitation is None:
        return _spent(request, "It was used, withdrawn or ran out. Ask for a new invitation.")
    if isinstance(request.user, Person):
        return _signed_in(request, request.user)
    form = JoinForm(request.POST or None)
    return _answer(
        request,
        form,
        "people/join.html",
        lambda: services.join(digest=digest, time_zone=default_zone(), now=timezone.now(), **form.cleaned_data),
        invitation=invitation,
    )


@public
@sensitive_post_parameters("password")
def link(request: HttpRequest) -> HttpResponseBase:
    """Somebody who was locked out sets a new password; a second factor is still asked for afterwards."""
    digest = _digest(request, "people-link")
    found = services.open_link(kind=Link.Kind.SIGNIN, digest=digest, now=timezone.now())
    if found is None:
        return _spent(request, "It was used or ran out. On the server: ./mainstay manage signinlink YOUR-EMAIL")
    if isinstance(request.user, Person):
        return _signed_in(request, request.user)
    form = NewPasswordForm(request.POST or None)
    return _answer(
        request,
        form,
        "people/link.html",
        lambda: services.use_sign_in_link(digest=digest, now=timezone.now(), **form.cleaned_data),
        email=found.person.email if found.person else "",
    )


def _digest(request: HttpRequest, door: str) -> str:
    kept = request.session.get(KEPT) or {}
    return str(kept.get("digest", "")) if kept.get("door") == door else ""


def _answer(
    request: HttpRequest, form: Form, template: str, make: Callable[[], Person], **context: object
) -> HttpResponseBase:
    if request.method == "POST" and form.is_valid():
        try:
            person = make()
        except services.RefusedError as refused:
            form.add_error(None, str(refused))
        else:
            request.session.pop(KEPT, None)
            return _enter(request, person)
    return render(request, template, {"form": form, **context})


def _enter(request: HttpRequest, person: Person) -> HttpResponseBase:
    """Sign in through the library's own stages, so that a second factor is never skipped."""
    record_authentication(request, person, method="password", email=person.email)
    entered: HttpResponseBase = perform_login(
        request, Login(user=person, email=person.email, redirect_url=reverse("mfa_index"))
    )
    return entered


def _spent(request: HttpRequest, said: str) -> HttpResponse:
    return message(
        request,
        title="This link does not work",
        said=said,
        verb="Go to sign-in",
        url=reverse("account_login"),
        status=410,
    )


def _signed_in(request: HttpRequest, person: Person) -> HttpResponse:
    said = f"You are signed in as {person}. Sign out first, then open the link again."
    return message(
        request, title="Sign out first", said=said, verb="Sign out", url=reverse("account_logout"), status=409
    )
