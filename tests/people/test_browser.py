"""Sign-in safety in a real browser: passkeys under the content security policy, from set-up to sign-in."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from apps.people import services
from apps.people.models import Person
from tests.people.factories import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # playwright's loop runs in this thread
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
        yield started
        started.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a page with a device that has passkeys; the test fails on any report of the policy."""
    page = browser.new_page()
    broken: list[str] = []
    page.on("console", lambda said: broken.append(said.text) if "Content Security Policy" in said.text else None)
    device = page.context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    options: Any = {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }  # fmt: skip
    device.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield page
    assert broken == []


def test_the_first_owner_sets_up_adds_a_passkey_and_signs_in_with_it_alone(page: Page, live_server: LiveServer) -> None:
    from django.utils import timezone  # noqa: PLC0415

    token = services.first_admin(email="", password="", now=timezone.now())
    home = live_server.url.replace("127.0.0.1", "localhost")
    page.goto(f"{home}/setup/{token}/")
    assert token
    assert token not in page.url
    page.get_by_label("Your name").fill("Ann")
    page.get_by_label("E-mail").fill("ann@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make my account").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Sign-in safety")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Your recovery codes")
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_text("Signs in alone")).to_be_visible()
    page.goto(f"{home}/signout/")
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{home}/signin/")
    page.get_by_role("button", name="Continue with a passkey").click()
    page.wait_for_url(lambda url: "/signin" not in url)
    page.goto(f"{home}/profile/")
    expect(page.get_by_text("ann@example.com")).to_be_visible()
    # the password alone is not enough any more, and the passkey is the second step
    page.context.clear_cookies()
    page.goto(f"{home}/signin/")
    page.get_by_label("E-mail").fill("ann@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("One more step")
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(lambda url: "/signin" not in url)
    assert Person.objects.get().last_login
