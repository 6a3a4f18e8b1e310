"""A real Chromium on the page of one's own keys: a private one stays in the browser, a public one is judged."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from apps.access.models import PublicKey
from tests.access.ssh_keys import made
from tests.browser.conftest import FLAGS
from tests.people.factories import MemberFactory
from tests.people.fixtures import client_of

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page on which a member is signed in."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # the browser's driver runs a loop in this thread
    cookies: Any = client_of(MemberFactory()).cookies
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        context = browser.new_context(base_url=live_server.url)
        context.set_default_timeout(60_000)
        for name, one in cookies.items():
            context.add_cookies([{"name": name, "value": one.value, "url": live_server.url}])
        yield context.new_page()
        browser.close()


def test_a_private_key_is_taken_out_of_the_field_before_anything_is_sent(page: Page) -> None:
    sent: list[str] = []
    page.on("request", lambda asked: sent.append(asked.url) if asked.method == "POST" else None)
    page.goto("/access/keys")
    page.fill("#id_text", made("ed25519")[1])
    page.get_by_text("It did not leave your browser").wait_for()
    assert page.input_value("#id_text") == ""
    page.fill("#id_text", made("ed25519")[0])
    page.get_by_text("Used by nobody else").wait_for()
    assert not page.get_by_text("It did not leave your browser").is_visible()
    assert len(sent) == 1
    page.get_by_role("button", name="Add key").click()
    page.get_by_text("1 key added").wait_for()
    assert PublicKey.objects.count() == 1
