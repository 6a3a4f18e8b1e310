"""A real Chromium in front of a real `./mainstay up`; any report of the content policy fails the test."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.core.starting import Up

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 60_000  # milliseconds; the machine may be busy
OWNER, PASSWORD = "ana@example.com", "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium once for a file of journeys."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def window(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages that collect what the browser complains of; the test fails when there was anything."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def opened(**options: object) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        # a refusal (4xx) that a test asks for is no complaint
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text) if said.type == "error" and "status of 4" not in said.text else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda asked: complaints.append(f"report to {asked.url}") if "csp-report" in asked.url else None
        )
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints, complaints


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run one Mainstay whose first admin comes from the environment."""
    data = tmp_path_factory.mktemp("browser") / "data"
    with Up(data, ADMIN_EMAIL=OWNER, ADMIN_PASSWORD=PASSWORD, PATH=os.environ["PATH"]) as running:
        yield running


@pytest.fixture
def owner(up: Up, window: Callable[..., Page]) -> Page:
    """Return a page on which the owner is signed in."""
    page = window(base_url=f"http://localhost:{up.port}")
    page.goto("/")
    page.get_by_label("E-mail").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(lambda url: "/signin" not in url)
    return page


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Return a SQLite file with a few rows, as somebody's app would have."""
    path = tmp_path / "orders.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("create table orders (id integer primary key, customer text, cents integer)")
        rows = [(f"c{n}", n) for n in range(2000)]
        connection.executemany("insert into orders (customer, cents) values (?, ?)", rows)
    connection.close()
    return path
