"""The Jinja environment of Mainstay's own pages, and what every page may read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString
from django_htmx.jinja import htmx_script
from jinja2 import Environment, StrictUndefined, pass_context
from jinja2.runtime import Context

from apps.core import build, charts, look, pulse, words


def environment(**options: Any) -> Environment:
    """Return the environment: undefined names raise, everything is escaped."""
    options |= {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True, "autoescape": True}
    env = Environment(**options)  # noqa: S701 autoescape is on, one line above
    env.globals.update(
        static=static,
        url=_url,
        page_url=_url,  # the same, for the frame: a page may pass an address of its own called url
        has_page=_has_page,
        icon=look.icon,
        glyph=look.glyph,
        sprite=look.sprite,
        when=_when,
        charts=charts,
        words=words,
        htmx_script=htmx_script,
        version=settings.VERSION,
    )
    for word in (words.count, words.plural, words.size, words.rate, words.took, words.day, words.clock, words.long_day):
        env.filters[word.__name__] = word
        env.globals[word.__name__] = word
    env.filters["ago"] = env.globals["ago"] = _ago
    env.globals["moment"] = words.moment
    env.filters["capitalize_first"] = lambda text: f"{text[:1].upper()}{text[1:]}"
    env.filters["moment"] = words.moment
    return env


@dataclass(frozen=True, slots=True)
class Flag:
    """What stands beside a page in the sidebar: how many things there need a person, and how bad the worst is."""

    number: int
    kind: str = ""  # "", "warn" or "bad"
    said: str = "need attention"


@dataclass(frozen=True, slots=True)
class Known:
    """What a page has read that its frame shows too."""

    heartbeat: pulse.Heartbeat | None = None
    flags: Mapping[str, Flag | None] = field(default_factory=dict)  # by the URL name of the sidebar's page


@dataclass(frozen=True, slots=True)
class Page:
    """One entry of the sidebar as `config/nav.py` declares it."""

    label: str
    url_name: str
    icon: str
    action: str
    group: str = ""
    dock: bool = False  # is it one of the four in a phone's dock
    flag: Callable[[datetime], Flag | None] | None = None
    words: str = ""  # other words that people search it by


@dataclass(frozen=True, slots=True)
class NavItem:
    """One entry of the sidebar as this person sees it."""

    label: str
    name: str
    href: str
    icon: str
    group: str
    dock: bool
    flag: Flag | None


def page_context(request: HttpRequest) -> dict[str, Any]:
    """Return what every page may read; nothing here costs a query unless the page uses it."""
    now = timezone.now()
    user = getattr(request, "user", None)
    person = user if user is not None and user.is_authenticated else None
    role = getattr(person, "role", "")

    def may(action: str) -> bool:
        return bool(person) and _may()(role, action)

    match = request.resolver_match
    known: Known = getattr(request, "known", None) or Known()
    return {
        "request": request,
        "person": person,
        "now": now,
        "tz": zone(getattr(person, "time_zone", "") or settings.MAINSTAY_TIME_ZONE),
        "may": may,
        "nav": SimpleLazyObject(lambda: nav_for(may, now, known.flags)) if person else [],
        "here": match.url_name if match else "",
        "messages": SimpleLazyObject(lambda: list(messages.get_messages(request))),
        "nonce": getattr(request, "csp_nonce", ""),
        "heartbeat": known.heartbeat or SimpleLazyObject(lambda: pulse.heartbeat(now)),
        "site": settings.MAINSTAY_SITE or "Mainstay",
        "fonts_css": build.fonts_css(),
    }


def hand_over(request: HttpRequest, known: Known) -> None:
    """Keep what a page has read already for the frame around it, which then does not ask again."""
    request.known = known  # type: ignore[attr-defined]


def nav_for(may: Callable[[str], bool], now: datetime, known: Mapping[str, Flag | None]) -> list[NavItem]:
    """Return the sidebar: the pages that exist and that this person may open, each with its flag.

    `known` has flags by the page's URL name; only the others are asked for.
    """
    items = []
    for page in nav_pages():
        if not may(page.action):
            continue
        try:
            href = reverse(page.url_name)
        except NoReverseMatch:  # a room that is not installed has no entry; tests/house checks that ours all resolve
            continue
        flag = known[page.url_name] if page.url_name in known else page.flag(now) if page.flag else None
        items.append(NavItem(page.label, page.url_name, href, page.icon, page.group, page.dock, flag))
    return items


@cache
def nav_pages() -> Sequence[Page]:
    """Return the declared pages (core knows no rooms, so the settings name the list)."""
    return tuple(import_string(settings.MAINSTAY_NAV))


@cache
def _may() -> Callable[[str, str], bool]:
    return import_string(settings.MAINSTAY_MAY)  # type: ignore[no-any-return]


@cache
def zone(name: str) -> tzinfo:
    """Return a time zone by its name; UTC for a name that is unknown here."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def _url(name: str, *args: Any, **kwargs: Any) -> str:
    return reverse(name, args=args or None, kwargs=kwargs or None)


def _has_page(name: str) -> bool:
    try:
        reverse(name)
    except NoReverseMatch:
        return False
    return True


@pass_context
def _when(context: Context, at: datetime | None) -> SafeString:
    return look.stamp(at, context.get("now"), context.get("tz") or UTC)


@pass_context
def _ago(context: Context, at: datetime | None, now: datetime | None = None) -> str:
    return words.ago(at, now or context.get("now") or timezone.now(), context.get("tz") or UTC)
