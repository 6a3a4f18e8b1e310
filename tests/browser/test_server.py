"""The journey of a server: added with a form, its script pasted on a real Debian, its host key compared, answering."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE
from tests.fleet.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.real, pytest.mark.timeout(600)]


def test_an_admin_adds_a_server_pastes_its_script_compares_the_key_and_sees_it_answer(
    owner: Page, server: Server
) -> None:
    """Add a server."""
    main = owner.get_by_role("main")
    owner.goto("/servers/")
    main.get_by_role("link", name="Add server").first.click()
    owner.get_by_label("Name", exact=True).fill("shop-1")
    owner.get_by_label("Address", exact=True).fill(f"ssh://{server.address}")
    main.get_by_role("button", name="Show the script").click()
    expect(main.locator(".error")).to_have_count(1)
    expect(owner.get_by_label("Name", exact=True)).to_have_value("shop-1")  # what was typed stays
    owner.get_by_label("Address", exact=True).fill(server.address)
    owner.get_by_label("Address", exact=True).press("Tab")
    own = server.address.rsplit(".", 1)[0] + ".1"  # the bridge, where this machine is in the server's network
    expect(owner.locator("#id_seen_from")).to_have_value(own, timeout=PATIENCE)
    main.get_by_role("button", name="Show the script").click()
    expect(owner.get_by_role("heading", level=1)).to_contain_text("Connect shop-1")
    script = owner.get_by_role("region", name="The script", exact=True).locator("pre").text_content()
    assert script
    pasted = server.inside("sh", input=script)
    printed = set(re.findall(r"SHA256:[A-Za-z0-9+/]{43}", pasted.out))
    assert printed, pasted
    main.get_by_role("button", name="Look at its host keys").click()
    keys = main.locator(".keys code")
    expect(keys.first).to_be_visible(timeout=PATIENCE)
    assert set(keys.all_text_contents()) <= printed
    main.get_by_role("button", name="They are the same, pin them").click()
    expect(main).to_contain_text("shop-1 answers.", timeout=PATIENCE)
    main.get_by_role("link", name="shop-1").last.click()
    expect(main).to_contain_text("Debian GNU/Linux 12")
    owner.goto("/servers/")
    expect(main.get_by_role("row", name=re.compile("shop-1"))).to_contain_text("%")
