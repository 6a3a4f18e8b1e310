"""The three journeys that exist so far, clicked as their user would: first start, schedule a backup, read its proof."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, PATIENCE
from tests.core.starting import Up, until

pytestmark = [pytest.mark.browser, pytest.mark.real, pytest.mark.timeout(600)]


def seen(page: Page, text: str | re.Pattern[str]) -> None:
    """Reload the page until it shows a text: work goes on in the background."""
    for _ in range(40):
        if page.get_by_role("main").get_by_text(text).first.is_visible():
            return
        page.wait_for_timeout(1500)
        page.reload()
    raise AssertionError(f"never saw {text!r} on {page.url}: {page.get_by_role('main').inner_text()}")


def test_the_first_person_opens_the_link_on_the_console_and_sees_a_proven_restore_without_configuring_anything(
    tmp_path: Path, window: Callable[..., Page]
) -> None:
    """First start."""
    with Up(tmp_path / "data") as up:
        until(lambda: "/setup/" in up.said, "the link on the console")
        link = re.search(r"http://\S+/setup/\S+", up.said)
        assert link
        page = window()
        page.goto(link.group())
        page.get_by_label("Name").fill("Ana Lima")
        page.get_by_label("E-mail").fill("ana@example.com")
        page.get_by_label(re.compile("^Password")).first.fill(PASSWORD)
        page.locator("main button[type=submit]").first.click()
        page.wait_for_load_state()
        page.goto(f"http://localhost:{up.port}/")
        seen(page, "Restores are tested")
        seen(page, re.compile(r"Restored and compared"))
        main = page.get_by_role("main")
        for missing in ("Nobody would be told", "No backup is kept off this site", "Invite a second person"):
            expect(main.get_by_text(missing)).to_be_visible()
        page.goto(link.group())
        expect(page.get_by_label("E-mail")).to_have_count(0)  # the link worked once


def test_an_admin_schedules_a_backup_with_a_form_and_watches_it_become_proven(
    owner: Page, orders: Path, tmp_path: Path
) -> None:
    """Schedule a backup."""
    folder = tmp_path / "store"
    folder.mkdir()
    owner.goto("/backups/")
    owner.get_by_role("main").get_by_role("link", name=re.compile("New backup plan")).first.click()
    owner.locator("input[name=source-kind][value=sqlite]").check()
    owner.locator("#id_source-path").fill(str(orders))
    owner.get_by_role("button", name="Test connection").first.click()
    expect(owner.get_by_role("main")).to_contain_text(re.compile("1 table", re.IGNORECASE), timeout=PATIENCE)
    owner.locator("#id_plan-time").fill("03:30")
    owner.locator("#id_plan-time_zone").select_option("Europe/Berlin")
    expect(owner.get_by_label("Preview")).to_contain_text("03:30", timeout=PATIENCE)
    expect(owner.get_by_label("Preview")).to_contain_text("Berlin", timeout=PATIENCE)
    owner.locator("#id_store-pick").select_option(label="A new one")
    owner.locator("input[name=store-kind][value=local]").check()
    owner.locator("#id_store-path").fill(str(folder))
    owner.get_by_role("button", name="Test connection").nth(1).click()
    expect(owner.get_by_role("main")).to_contain_text("The folder takes, lists, returns", timeout=PATIENCE)
    owner.locator("#id_plan-name").fill("Orders")
    owner.get_by_role("button", name="Save and back up now").click()
    expect(owner.get_by_role("heading", level=1)).to_contain_text("Orders")
    seen(owner, re.compile(r"Proven \d+ s ago|Proven \d+ min ago|Proven just now"))
    assert list(folder.rglob("*.age")), "the object lies in the folder that was chosen"


def test_a_founder_goes_from_the_first_page_to_the_evidence_and_its_recovery_steps(owner: Page) -> None:
    """Read its proof."""
    seen(owner, re.compile("Restored and compared"))
    proof = owner.get_by_role("main").get_by_text("Restored and compared").first
    proof.locator("xpath=ancestor::*[.//a][1]").get_by_role("link").first.click()
    main = owner.get_by_role("main")
    expect(main.locator(".ladder__step")).to_have_count(7)
    expect(main.locator(".ladder__step", has_text=": passed")).to_have_count(7)
    expect(main).to_contain_text("cannot see")
    main.get_by_role("link", name=re.compile("Recovery steps", re.IGNORECASE)).first.click()
    expect(main).to_contain_text("age -d")
    assert not re.search("AGE-SECRET-KEY-1[A-Z0-9]{8}", owner.content()), "the paper names the key, it does not hold it"


def test_a_phone_shows_the_first_page_without_scrolling_sideways(up: Up, owner: Page) -> None:
    """The founder's ten seconds, on 360 pixels."""
    owner.set_viewport_size({"width": 360, "height": 780})
    for path in ("/", "/backups/", "/backups/new", "/checklist", "/channels/", "/people/", "/incidents/"):
        owner.goto(path)
        wide = owner.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} px too wide"


def test_the_first_page_can_be_used_with_the_keyboard_alone(owner: Page) -> None:
    """Skip link first, then every stop has a visible ring; Ctrl K opens search."""
    owner.goto("/")
    owner.keyboard.press("Tab")
    assert owner.evaluate("document.activeElement.className") == "skip"
    owner.keyboard.press("Control+k")
    expect(owner.locator("#jump")).to_be_visible()
    owner.keyboard.press("Escape")
    expect(owner.locator("#jump")).to_be_hidden()
