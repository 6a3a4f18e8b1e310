"""Icons, status glyphs and stamps of time as markup: what Jinja pages, sign-in pages and charts share."""

import math
import re
from datetime import UTC, datetime, tzinfo
from functools import cache

import lucide.jinja
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from apps.core import words


@cache
def _icon_body(name: str) -> str:
    svg = str(lucide.jinja.lucide(name))
    body = re.sub(r"\n\s*", "", svg.split(">", 1)[1].rsplit("</svg>", 1)[0])
    return body.replace(" />", "/>")


@cache
def icon(name: str, extra_class: str = "") -> SafeString:
    """Return a Lucide icon as inline SVG, hidden from screen readers: the word stands beside it."""
    classes = f"icon {extra_class}".strip()
    return mark_safe(f'<svg class="{escape(classes)}" viewBox="0 0 24 24" aria-hidden="true">{_icon_body(name)}</svg>')  # noqa: S308 our own markup


@cache
def glyph(name: str, extra_class: str = "") -> SafeString:
    """Return one of our status glyphs; its drawing is in `sprite()`, once a page."""
    if name not in GLYPHS:
        raise KeyError(f"there is no glyph called {name}")
    classes = f"glyph {extra_class}".strip()
    return format_html('<svg class="{}" aria-hidden="true"><use href="#g-{}"></use></svg>', classes, name)


@cache
def sprite() -> SafeString:
    """Return the drawings of every glyph, hidden, for the top of a page."""
    symbols = "".join(
        f'<symbol id="g-{n}" viewBox="0 0 {box} {box}">{body}</symbol>' for n, (box, body) in GLYPHS.items()
    )
    return mark_safe(f'<svg class="sprite" width="0" height="0" aria-hidden="true">{symbols}</svg>')  # noqa: S308 our own markup


def stamp(at: datetime | None, now: datetime | None = None, tz: tzinfo = UTC) -> SafeString:
    """Return a moment as `<time datetime>`: its age in words, the whole moment on hover; "never" for none."""
    if at is None:
        return mark_safe("never")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        at.astimezone(UTC).isoformat(timespec="seconds"),
        words.moment(at, tz),
        words.ago(at, now or timezone.now(), tz),
    )


def seal_path(radius: float = 6.6, inner: float = 0.82, points: int = 9, centre: float = 7) -> str:
    """Return the outline of the scalloped seal that marks a proof."""
    corners = []
    for i in range(points * 2):
        angle = math.pi * i / points - math.pi / 2
        reach = radius if i % 2 == 0 else radius * inner
        corners.append(f"{centre + reach * math.cos(angle):.2f} {centre + reach * math.sin(angle):.2f}")
    return "M" + "L".join(corners) + "Z"


_SEAL = f'<path d="{seal_path()}" fill="currentColor" stroke="currentColor" stroke-width=".6" stroke-linejoin="round"/>'
_ON = 'fill="none" stroke="var(--surface)" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"'
_LINE = 'fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round"'
_ARC = 'fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round"'
_DASHED = 'fill="none" stroke="currentColor" stroke-width="1.25" stroke-dasharray="2 1.5" stroke-linejoin="round"'
_RING = '<circle cx="6" cy="6" r="5.2" fill="none" stroke="currentColor" stroke-width="1.5"'

# Each status has an outline of its own, so that colour is never the only signal. Name → (side of the box, drawing).
GLYPHS: dict[str, tuple[int, str]] = {
    "ok": (12, f'<circle cx="6" cy="6" r="6" fill="currentColor"/><path d="M3.4 6.2 5.2 8l3.5-3.9" {_ON}/>'),
    "warn": (
        12,
        (
            '<path d="M5.05.9a1.1 1.1 0 0 1 1.9 0l4.7 8.5a1.1 1.1 0 0 1-.95 1.65H1.3A1.1 1.1 0 0 1 .35 9.4Z" '
            f'fill="currentColor"/><path d="M6 4v2.9M6 8.9v.05" {_ON}/>'
        ),
    ),
    "bad": (
        12,
        (
            '<path d="M3.6 0h4.8L12 3.6v4.8L8.4 12H3.6L0 8.4V3.6Z" fill="currentColor"/>'
            f'<path d="m4 4 4 4M8 4 4 8" {_ON}/>'
        ),
    ),
    "pause": (
        12,
        (
            '<circle cx="6" cy="6" r="5.3" fill="none" stroke="currentColor" stroke-width="1.3"/>'
            '<path d="M4.7 4v4M7.3 4v4" stroke="currentColor" stroke-width="1.3" stroke-linecap="round"/>'
        ),
    ),
    "none": (12, f'{_RING} stroke-dasharray="2.4 1.68"/>'),
    "info": (
        12,
        '<rect x="1.9" y="1.9" width="8.2" height="8.2" rx="1" transform="rotate(45 6 6)" fill="currentColor"/>',
    ),
    "run": (
        12,
        f'{_RING} opacity=".3"/><path d="M6 .8A5.2 5.2 0 0 1 11.2 6" {_ARC}/>',
    ),
    "proof": (14, f'{_SEAL}<path d="M4.4 7.2 6.2 9l3.5-3.8" {_ON}/>'),
    "proof-none": (
        14,
        f'<path d="{seal_path(6, 0.84)}" {_DASHED}/>',
    ),
    "proof-bad": (14, f'{_SEAL}<path d="m5 5 4 4M9 5 5 9" {_ON}/>'),
    "check": (12, f'<path d="m2.2 6.3 2.7 2.7 5-5.9" {_LINE}/>'),
    "x": (12, f'<path d="m2.7 2.7 6.6 6.6M9.3 2.7 2.7 9.3" {_LINE}/>'),
    "dot": (12, '<circle cx="6" cy="6" r="2.5" fill="currentColor"/>'),
    # who reaches what
    "admin": (
        16,
        (
            '<circle cx="8" cy="8" r="6.2" fill="currentColor"/><path d="M8 4.6 8.9 6.9l2.4.15-1.85 1.55.6 2.35L8 9.65 '
            '5.95 10.95l.6-2.35L4.7 7.05l2.4-.15Z" fill="var(--surface)"/>'
        ),
    ),
    "user": (16, '<circle cx="8" cy="8" r="6.2" fill="currentColor"/>'),
    "temp": (
        16,
        (
            '<circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="1.4"/>'
            '<path d="M8 8V2.5A5.5 5.5 0 0 1 8 13.5Z" fill="currentColor"/>'
        ),
    ),
    "wait": (
        16,
        (
            '<circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="1.5" '
            'stroke-dasharray="2.6 1.7"/>'
        ),
    ),
    "no": (16, '<path d="M6 8h4" stroke="currentColor" stroke-width="1.5" stroke-linecap="round"/>'),
    "mark": (
        24,
        (
            '<rect width="24" height="24" rx="6.5" fill="var(--ink)"/>'
            '<path d="M12 4.5v15" stroke="var(--on-ink)" stroke-width="2.1" stroke-linecap="round"/>'
            '<path d="M12 5.2C10.2 11 7.9 15 4.9 18.2h14.2C16.1 15 13.8 11 12 5.2Z" fill="none" stroke="var(--on-ink)" '
            'stroke-width="1.5" stroke-linejoin="round" stroke-linecap="round"/>'
        ),
    ),
}
