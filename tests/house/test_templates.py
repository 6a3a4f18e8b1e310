"""House tests of every template and script: nothing that the policy forbids, nothing from elsewhere."""

import re
from pathlib import Path

import pytest
from django.conf import settings

TEMPLATES = sorted(Path(settings.BASE_DIR / "templates").rglob("*.html"))
SHEETS = sorted(Path(settings.BASE_DIR / "static").rglob("*.css"))
SCRIPTS = sorted(Path(settings.BASE_DIR / "static").rglob("*.js"))

FORBIDDEN = {
    "a style attribute": re.compile(r"\sstyle\s*=", re.IGNORECASE),
    "an on… handler": re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE),
    "hx-on": re.compile(r"hx-on", re.IGNORECASE),
    "hx-vals or hx-headers that evaluate": re.compile(r"hx-(vals|headers)\s*=\s*[\"'](js|javascript):", re.IGNORECASE),
    "a trigger filter, which evaluates text": re.compile(r"hx-trigger\s*=\s*\"[^\"]*\[", re.IGNORECASE),
    "a style element": re.compile(r"<style", re.IGNORECASE),
    "a javascript: link": re.compile(r"javascript:", re.IGNORECASE),
    "an address elsewhere": re.compile(r"(src|href)\s*=\s*[\"'](https?:)?//(?!www\.w3\.org)", re.IGNORECASE),
    "an escape hatch": re.compile(r"\|\s*safe\b"),
}
INLINE = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", re.IGNORECASE)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(settings.BASE_DIR)))
def test_no_template_needs_what_the_policy_forbids(template: Path) -> None:
    text = re.sub(r"\{#.*?#\}", "", template.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = [what for what, pattern in FORBIDDEN.items() if pattern.search(text)]
    assert not found
    for script in INLINE.findall(text):
        assert "nonce" in script


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(settings.BASE_DIR)))
def test_every_template_opens_with_what_it_is_for(template: Path) -> None:
    opening = re.sub(r"^\{% load [^%]*%\}", "", template.read_text(encoding="utf-8").lstrip()).lstrip()
    assert opening.startswith(("{#", "{% comment")) or (
        opening.split("\n", 2)[0].startswith("{% extends") and "{#" in opening.split("\n", 2)[1]
    )


@pytest.mark.parametrize("file", [*SHEETS, *SCRIPTS], ids=lambda path: path.name)
def test_no_stylesheet_or_script_loads_from_elsewhere(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"(@import|url\(\s*[\"']?(https?:|//|data:))", text, re.IGNORECASE)
    assert not re.search(r"\beval\(|new Function|\.innerHTML\s*=|insertAdjacentHTML", text)
    assert text.count("\n") <= 400
    assert text.lstrip().startswith("/*")
