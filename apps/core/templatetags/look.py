"""Icons, glyphs and stylesheets for the sign-in pages: {% load look %}, then {% icon "x" %} or {% glyph "ok" %}."""

from typing import Any

from django import template
from django.template.context import RequestContext
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.core import build, look

register = template.Library()

SHEETS = ("tokens", "base", "layout", "controls", "status", "lists", "charts", "pages")

register.simple_tag(look.icon, name="icon")
register.simple_tag(look.glyph, name="glyph")
register.simple_tag(look.sprite, name="sprite")


@register.simple_tag
def stylesheets() -> SafeString:
    """Return the links of every stylesheet, the fonts first when they were built."""
    fonts = build.fonts_css()
    links = [*([fonts] if fonts else []), *(static(f"core/{sheet}.css") for sheet in SHEETS)]
    return format_html_join("\n", '<link rel="stylesheet" href="{}">', ((link,) for link in links))


@register.simple_tag(takes_context=True)
def theme_script(context: RequestContext) -> SafeString:
    """Return the one start-up script with the nonce of this answer; it sets the theme before the first paint."""
    nonce: Any = getattr(context.get("request"), "csp_nonce", "")
    return format_html(
        '<script nonce="{}">try{{var t=localStorage.theme;'
        "if(t)document.documentElement.dataset.theme=t}}catch(e){{}}</script>",
        nonce,
    )


@register.filter
def plain(field: Any) -> SafeString:
    """Return a form field's control in this look: class, aria-invalid and aria-describedby set."""
    attrs = {"class": "input"}
    if field.errors:
        attrs["aria-invalid"] = "true"
    if field.errors or field.help_text:
        attrs["aria-describedby"] = f"help_{field.html_name}"
    widget = getattr(field.field.widget, "input_type", "")
    return field.as_widget(attrs={} if widget in {"checkbox", "radio"} else attrs)  # type: ignore[no-any-return]
