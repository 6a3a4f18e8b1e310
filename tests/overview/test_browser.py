"""The first page in a real browser: the poll keeps the focus, the theme stays, keys work, nothing scrolls sideways."""

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from apps.backups.models import Plan, RestoreTest
from apps.core import pulse
from apps.core.models import Pulse
from apps.people.models import Person

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

ARGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture
def page(
    live_server: LiveServer,
    client: Client,
    make_plan: Callable[..., Plan],
    make_test: Callable[[Plan], RestoreTest],
    moment: datetime,
) -> Iterator[Page]:
    """Return a signed-in page with two plans; any error of the browser fails the test, a report of the policy too."""
    pulse.beat(moment + timedelta(hours=1))
    make_test(make_plan("Production database"))
    make_plan("Analytics warehouse with a rather long name of its own", verdict="bad", verdict_since=moment)
    person = Person.objects.create(email="mira@quillbox.example", name="Mira Okafor", role="owner")
    client.force_login(person)
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # playwright's loop runs in this thread
    wrong: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=list(ARGS))
        context = browser.new_context(base_url=live_server.url, color_scheme="light")
        context.set_default_timeout(60_000)
        key = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": live_server.url}])
        opened = context.new_page()
        opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.clock.install()
        opened.goto("/")
        yield opened
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
    assert wrong == []


def polled(page: Page, path: str) -> None:
    """Let the page's clock run until it asks again, and wait for the answer."""
    with page.expect_response(lambda answer: answer.url.endswith(path) and "hx-request" in answer.request.headers):
        page.clock.fast_forward(16_000)


def test_the_poll_brings_what_changed_and_keeps_the_focus(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text("at risk")
    button = page.locator("#need-1")
    button.focus()
    Plan.objects.filter(verdict="bad").update(verdict="ok")
    polled(page, "/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Every backup is proven.")
    expect(button).to_be_focused()


def test_when_the_watching_stops_an_open_page_loses_its_colour_by_itself(page: Page) -> None:
    Pulse.objects.update(at=datetime.fromisoformat("2026-01-01T00:00:00+00:00"))
    polled(page, "/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("We do not know how things are.")
    strip = page.locator(".strip")
    assert "grayscale" in strip.evaluate("e => getComputedStyle(e).filter")


def test_a_page_whose_session_ended_goes_to_the_sign_in_and_not_into_a_corner(page: Page) -> None:
    page.context.clear_cookies()
    page.clock.fast_forward(16_000)
    page.wait_for_url("**/signin/**")
    expect(page.get_by_label("E-mail")).to_be_visible()


def test_the_chosen_theme_stays(page: Page) -> None:
    toggle = page.get_by_role("button", name="Switch between light and dark").first
    toggle.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto("/checklist")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_control_k_jumps_and_finds_while_typing(page: Page) -> None:
    page.keyboard.press("Control+k")
    field = page.get_by_role("searchbox", name="Search")
    expect(field).to_be_focused()
    field.type("Analyt")
    page.clock.fast_forward(500)
    found = page.locator("#jump-found a", has_text="Analytics warehouse")
    expect(found).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(found).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#jump")).to_be_hidden()


def test_n_then_b_begins_a_new_plan(page: Page) -> None:
    page.keyboard.press("n")
    page.keyboard.press("b")
    page.wait_for_url("**/backups/new")


@pytest.mark.parametrize("path", ["/", "/checklist", "/jump?q=a", "/nowhere"])
def test_nothing_scrolls_sideways_at_any_width(page: Page, path: str) -> None:
    if path == "/nowhere":
        page.route("**/nowhere", lambda route: route.fulfill(response=route.fetch(), status=200))
    page.goto(path)
    for width in (320, 360, 390, 600, 768, 959, 960, 1100, 1440, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width


def test_every_stop_of_the_keyboard_shows_a_ring(page: Page) -> None:
    for _ in range(25):
        page.keyboard.press("Tab")
        ring = page.evaluate(
            """() => { const e = document.activeElement;
            return [e.tagName, getComputedStyle(e).outlineStyle, getComputedStyle(e, '::after').outlineStyle] }"""
        )
        assert "BODY" in ring or "solid" in ring[1:], ring
