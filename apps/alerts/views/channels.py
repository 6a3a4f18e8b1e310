"""The pages of channels: the list with its dead letters, one channel, adding and changing, tests and their proof."""

from uuid import UUID

from django.contrib import messages
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from apps.alerts import pages
from apps.alerts.forms import FORMS, ChannelForm
from apps.alerts.models import Channel, Message
from apps.alerts.services import channels as services
from apps.core.outbound import OutboundError
from apps.people.guard import me, require

DEAD_LETTERS = 50
RECENT = 20
SECRETS = ("password", "url")


@require("alerts.read")
@require_safe
def channels(request: HttpRequest) -> HttpResponse:
    """Every channel with how it stands, and what could not be delivered."""
    now = timezone.now()
    rows = [pages.row(channel, now) for channel in Channel.objects.kept().select_related("proven_by")]
    dead = Message.objects.dead_letters().select_related("channel", "incident")
    context = {"rows": rows, "said": pages.channels_sentence(rows), "dead": dead[:DEAD_LETTERS], "more": dead.count()}
    return render(request, "alerts/channels.html", context)


@require("alerts.read")
@require_safe
def channel(request: HttpRequest, channel_id: UUID) -> HttpResponse:
    """One channel: how it stands and what it was told lately."""
    return _channel(request, _kept(channel_id))


@require("alerts.channels")
@sensitive_post_parameters(*SECRETS)
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest, kind: str) -> HttpResponse:
    """Add a channel."""
    if kind not in FORMS:
        raise Http404
    return _form(request, kind, None)


@require("alerts.channels")
@sensitive_post_parameters(*SECRETS)
@require_http_methods(["GET", "POST"])
def change(request: HttpRequest, channel_id: UUID) -> HttpResponse:
    """Change a channel."""
    known = _kept(channel_id)
    if pages.follows_environment(known):
        messages.warning(request, f"{known} follows EMAIL_URL. Change the setting; nothing was changed here.")
        return redirect("channel", known.pk)
    return _form(request, known.kind, known)


@require("alerts.channels")
@require_POST
def drill(request: HttpRequest, channel_id: UUID) -> HttpResponse:
    """Send a test with a link that proves the channel."""
    found = _kept(channel_id)
    if found.paused_at:
        messages.warning(request, f"{found} is paused. Resume it, then send a test.")
    else:
        services.drill(actor=me(request), channel=found, now=timezone.now())
        messages.success(request, f"A test is on its way to {found}. Open the link in it within seven days.")
    return redirect("channel", found.pk)


@require("alerts.channels")
@require_POST
def pause(request: HttpRequest, channel_id: UUID) -> HttpResponse:
    """Stop telling a channel."""
    found = _kept(channel_id)
    services.pause(actor=me(request), channel=found, now=timezone.now())
    messages.success(request, f"{found} is told nothing until you resume it.")
    return redirect("channel", found.pk)


@require("alerts.channels")
@require_POST
def resume(request: HttpRequest, channel_id: UUID) -> HttpResponse:
    """Tell a channel again."""
    found = _kept(channel_id)
    services.resume(actor=me(request), channel=found, now=timezone.now())
    messages.success(request, f"{found} is told again.")
    return redirect("channel", found.pk)


@require("alerts.channels", recent=True)
@require_POST
def remove(request: HttpRequest, channel_id: UUID) -> HttpResponse:
    """Take a channel out of use."""
    found = _kept(channel_id)
    services.remove(actor=me(request), channel=found, now=timezone.now())
    messages.success(request, f"{found} was removed and its secret forgotten.")
    return redirect("channels")


@require("alerts.channels", recent=True)
@require_POST
def key(request: HttpRequest, channel_id: UUID) -> HttpResponse:
    """Make a new signing key for a webhook and show it once."""
    found = _kept(channel_id)
    if found.kind != Channel.Kind.WEBHOOK:
        raise Http404
    return _once(request, found, services.new_signing_key(actor=me(request), channel=found))


@require("alerts.channels")
@require_POST
def again(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Send a dead letter again."""
    found = get_object_or_404(Message, pk=message_id)
    if services.send_again(actor=me(request), message=found, now=timezone.now()):
        messages.success(request, f"It is on its way to {found.channel} again.")
    else:
        messages.warning(request, "It is not a dead letter any more. Nothing was changed.")
    return redirect("channels")


@require("alerts.channels")
@require_POST
def dismiss(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Take a dead letter off the page."""
    found = get_object_or_404(Message, pk=message_id)
    if services.dismiss(actor=me(request), message=found, now=timezone.now()):
        messages.success(request, "The dead letter is dismissed. It stays on its incident's page and in the audit log.")
    else:
        messages.warning(request, "It is not a dead letter any more. Nothing was changed.")
    return redirect("channels")


@require("alerts.read")
@require_GET
def proof(request: HttpRequest, token: str) -> HttpResponse:
    """The link of a test: that a signed-in person opened it proves the channel."""
    found = services.prove(actor=me(request), token=token, now=timezone.now())
    return render(request, "alerts/proof.html", {"channel": found}, status=200 if found else 404)


def _kept(channel_id: UUID) -> Channel:
    found: Channel = get_object_or_404(Channel.objects.kept().select_related("proven_by"), pk=channel_id)
    return found


def _channel(request: HttpRequest, found: Channel) -> HttpResponse:
    recent = found.messages.select_related("channel", "incident").order_by("-created_at")[:RECENT]
    context = {
        "channel": found,
        "row": pages.row(found, timezone.now()),
        "follows": pages.follows_environment(found),
        "entries": [(message, pages.told(message)) for message in recent],
    }
    return render(request, "alerts/channel.html", context)


def _form(request: HttpRequest, kind: str, known: Channel | None) -> HttpResponse:
    form = FORMS[kind](request.POST if request.method == "POST" else None, known=known)
    tried: tuple[bool, str] | None = None
    if request.method == "POST":
        valid = form.is_valid()
        do = request.GET.get("do") or request.POST.get("do")  # htmx leaves the name of the pressed button out
        if do == "test":
            tried = _try_out(request, kind, form) if valid else (False, _first_error(form))
            if request.headers.get("HX-Request"):
                return render(request, "alerts/_tried.html", {"tried": tried})
        elif valid and do == "save" and (answer := _save(request, kind, form)) is not None:
            return answer
        form.ask_again()
    context = {"form": form, "kind": kind, "label": Channel.Kind(kind).label, "known": known, "tried": tried}
    failed = request.method == "POST" and not (tried and tried[0])
    return render(request, "alerts/channel_form.html", context, status=422 if failed else 200)


def _try_out(request: HttpRequest, kind: str, form: ChannelForm) -> tuple[bool, str]:
    config, secrets = form.parts()
    try:
        receipt = services.try_out(actor=me(request), kind=kind, config=config, secrets=secrets, now=timezone.now())
    except OutboundError as error:
        return False, str(error)
    return True, receipt


def _first_error(form: ChannelForm) -> str:
    name, errors = next(iter(form.errors.items()))
    label = form[name].label if name in form.fields else ""
    return f"{label}: {errors[0]}" if label else str(errors[0])


def _save(request: HttpRequest, kind: str, form: ChannelForm) -> HttpResponse | None:
    config, secrets = form.parts()
    name = form.cleaned_data["name"]
    try:
        if form.known is not None:
            services.change_channel(
                actor=me(request), channel=form.known, name=name, config=config, secrets=secrets, now=timezone.now()
            )
            messages.success(request, f"{name} is saved.")
            return redirect("channel", form.known.pk)
        made = services.add_channel(
            actor=me(request), kind=kind, name=name, config=config, secrets=secrets, now=timezone.now()
        )
    except IntegrityError:
        form.add_error("name", "Another channel has this name. Choose another.")
        return None
    if kind == Channel.Kind.WEBHOOK:
        return _once(request, made, secrets["key"])
    messages.success(request, f"{name} is saved. Send a test and click its link: only that proves it.")
    return redirect("channel", made.pk)


def _once(request: HttpRequest, found: Channel, signing_key: str) -> HttpResponse:
    answer = render(request, "alerts/channel_key.html", {"channel": found, "signing_key": signing_key})
    answer["Cache-Control"] = "no-store"
    return answer
