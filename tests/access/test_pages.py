"""The pages of access: what each person sees, every malformed key as one sentence that echoes nothing, the cost."""

import logging
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries

from apps.access import keys, services
from apps.access.models import AccessState, Asking, Departure, Drift, Grant, KeyPush, PublicKey
from apps.people.models import AuditEntry, Person
from tests.access import ssh_keys
from tests.access.answers import blob_of
from tests.access.factories import finding, key_of, managed, text_of
from tests.access.ssh_keys import made, rsa, string
from tests.people.factories import MemberFactory, PersonFactory
from tests.people.fixtures import client_of

pytestmark = pytest.mark.django_db

PRIVATE = made("ed25519")[1]
LINE = made("ed25519")[0]
BODY = max(PRIVATE.splitlines(), key=len)


def text(client: Client, name: str, *args: object) -> str:
    """Return a page's text."""
    answer = client.get(reverse(name, args=args))
    assert answer.status_code == 200
    return answer.content.decode()


def malformed() -> dict[str, str]:
    """Return one paste for every way in which a key is refused."""
    dss = string(b"ssh-dss") + string(b"\5")
    raw = LINE.split()[1]
    return {
        "private": PRIVATE,
        "private, without its first line": "\n".join(PRIVATE.splitlines()[1:]),
        "private, of PuTTY": "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\nAAAAIGsecretsecret\n",
        "long": "x" * 70_000,
        "many": "\n".join(f"ssh-ed25519 {blob_of(str(number))}" for number in range(51)),
        "empty": "# nothing",
        "dsa": ssh_keys.line("ssh-dss", dss),
        "rsa_short": made("rsa", 1024)[0],
        "rsa_exponent": ssh_keys.line("ssh-rsa", rsa((1 << 3071) + 12345, 3)),
        "certificate": f"ssh-ed25519-cert-v01@openssh.com {raw}",
        "options": f'command="id",no-pty {LINE}',
        "mismatch": f"ssh-rsa {raw}",
        "trailing": f"ssh-ed25519 {raw[:-1]}zAAAA",
        "short": f"ssh-ed25519 {raw[:40]}",
        "unknown": "-----BEGIN PGP PUBLIC KEY BLOCK-----\nmQENBF\n-----END PGP PUBLIC KEY BLOCK-----",
        "ssh1": "1024 35 " + "1" * 300,
        "pkcs8": "-----BEGIN PUBLIC KEY-----\nMCowBQ\n-----END PUBLIC KEY-----",
        "x509": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "fingerprint": "SHA256:" + "A" * 43,
        "line": "zebra-crossing-of-a-private-thing",
        "markup": "<script>alert(1)</script>",
    }


@pytest.mark.parametrize("case", malformed())
@pytest.mark.parametrize("live", [True, False], ids=["typed", "sent"])
def test_a_malformed_key_is_one_sentence_and_nothing_of_it_is_kept_or_shown(
    member_client: Client, caplog: pytest.LogCaptureFixture, case: str, *, live: bool
) -> None:
    pasted = malformed()[case]
    before = AuditEntry.objects.count()
    headers = {"HX-Request": "true"} if live else {}
    with caplog.at_level(logging.DEBUG):
        answer = member_client.post(
            reverse("my-keys"), {"text": pasted, **({} if live else {"act": "add"})}, headers=headers
        )
    page = answer.content.decode()
    assert answer.status_code == (200 if live else 422)
    code = case.partition(",")[0]
    if code in keys.SAID and code != "private":
        assert keys.SAID[code][0].replace("'", "&#39;") in page
    elif code == "private":
        assert page.count("That was a private key") == (1 if live else 2)  # the other waits for the browser's own look
        assert "Treat it as lost" in page
    if code != "many":
        assert PublicKey.objects.count() == 0
        assert AuditEntry.objects.count() == before
        secret = max(re.findall(r"[A-Za-z0-9+/=<>:-]{6,}", pasted) or ["-"], key=len)
        assert secret not in page.replace("ssh-keygen", "")
        assert secret not in caplog.text
    assert "alert(1)" not in page


def test_a_private_key_among_good_ones_lets_none_of_them_in(member_client: Client) -> None:
    answer = member_client.post(reverse("my-keys"), {"text": f"{LINE}\n{PRIVATE}", "act": "add"})
    assert PublicKey.objects.count() == 0
    assert BODY not in answer.content.decode()
    assert BODY not in str(list(AuditEntry.objects.values()))


def test_several_keys_are_added_and_the_bad_one_is_said(member_client: Client, member: Person) -> None:
    pasted = f"{LINE}\nzebra\n{made('ecdsa', 256, 'two@desk')[0]}"
    answer = member_client.post(reverse("my-keys"), {"text": pasted, "act": "add"})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "Line 2 of what you pasted." in page
    assert "zebra" not in page
    assert sorted(PublicKey.objects.of(member).values_list("comment", flat=True)) == ["alice@laptop", "two@desk"]
    assert "2 keys added" in page


def test_ones_own_page_says_what_opens_and_for_how_long(member_client: Client, member: Person, owner: Person) -> None:
    now = timezone.now()
    page = text(member_client, "my-keys")
    assert "The private half never leaves your computer" in page
    state, other = managed(port=2222), managed()
    key = key_of(member)
    services.grant(actor=owner, person=member, server=state.server, now=now)
    until = (now + timedelta(hours=72)).replace(second=0, microsecond=0)
    state.leases = {str(key.pk): until.isoformat()}
    state.actual = [{"user": "mira", "keys": [text_of(key)], "sudo": False, "accepts": True, "why": ""}]
    state.save()
    pasted = member_client.post(reverse("my-keys"), {"text": LINE}, headers={"HX-Request": "true"}).content.decode()
    assert f"Will open {state.server.name}" in pasted
    page = text(member_client, "my-keys")
    assert "ssh mira@192.0.2.7 -p 2222" in page
    assert "renewed by itself" in page
    assert other.server.name in page.partition("Where you want to go")[2]
    assert state.server.name not in page.partition("Where you want to go")[2]
    answer = member_client.post(reverse("access-ask"), {"server": [other.server_id, "x"], "why": "<b>"}, follow=True)
    assert f"Asked for {other.server.name}" in answer.content.decode()
    assert "Asked for; an admin decides" in answer.content.decode()


def test_an_admin_approves_or_declines_on_the_matrix(
    admin_client: Client, member: Person, member_client: Client
) -> None:
    state = managed()
    member_client.post(reverse("access-ask"), {"server": state.server_id, "why": "<i>logs</i>"})
    asking = Asking.objects.get()
    page = text(admin_client, "access")
    assert "&lt;i&gt;logs" in page
    assert "Mira Member asks for it" in page or "They ask for it." in page
    assert reverse("access-answer", args=[asking.pk]) not in text(member_client, "access")
    answer = admin_client.post(reverse("access-answer", args=[asking.pk]), {"answer": "yes"}, follow=True)
    assert "Granted: Mira Member" in answer.content.decode()
    assert Grant.objects.get().person == member
    answer = admin_client.post(reverse("access-answer", args=[asking.pk]), {"answer": "no"}, follow=True)
    assert "answered already" in answer.content.decode()


@pytest.mark.parametrize(("fields", "said"), [
    ({}, "Choose a person or a role."), ({"whom": "person:1"}, "Choose a person or a role."),
    ({"whom": "role:king"}, "Choose a person or a role."), ({"whom": "role:member"}, "Choose a server or a tag."),
    ({"whom": "role:member", "where": "tag:none"}, "Choose a server or a tag."),
    ({"whom": "role:member", "where": "tag:web", "until": "yesterday"}, "Write the day as 2026-12-31."),
    ({"whom": "role:member", "where": "tag:web", "until": "2020-01-01"}, "Choose a day that has not passed."),
    ({"whom": "role:member", "where": "tag:web", "until": "9999-12-31"}, "Write the day as 2026-12-31."),
    ({"whom": "role:member\x00", "where": "tag:web"}, "cannot be typed"),
])  # fmt: skip
def test_a_grant_with_bad_input_says_what_is_wrong_and_changes_nothing(
    admin_client: Client, fields: dict[str, str], said: str
) -> None:
    managed(tags=["web"])
    answer = admin_client.post(reverse("access-grant"), fields)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert Grant.objects.count() == 0


def test_granting_and_taking_back_stand_on_the_matrix(admin_client: Client, member: Person) -> None:
    state = managed(tags=["web"])
    fields = {"whom": f"person:{member.pk}", "where": "tag:web", "until": "2030-01-31", "sudo": "on"}
    assert admin_client.post(reverse("access-grant"), fields).status_code == 302
    page = text(admin_client, "access")
    assert "Every server tagged web, with sudo, until" in page
    assert f"Mira Member may open {state.server.name} but has not added a key yet." in page
    again = admin_client.post(reverse("access-grant"), fields)
    assert "This is granted already." in again.content.decode()
    admin_client.post(reverse("access-grant-end", args=[Grant.objects.get().pk]))
    assert "Nothing is granted yet." in text(admin_client, "access")


def test_the_matrix_draws_each_standing_and_says_it_in_words(
    admin_client: Client, owner: Person, member: Person
) -> None:
    now = timezone.now()
    state = managed(pushed="a" * 64)
    olga, mira = key_of(owner), key_of(member)
    tom = MemberFactory(name="Tom", email="tom@example.com")
    extra = key_of(tom)
    services.grant(actor=owner, person=owner, server=state.server, sudo=True, now=now)
    services.grant(actor=owner, person=member, server=state.server, until=now + timedelta(days=9), now=now)
    rows = ((owner, olga, True), (member, mira, False), (tom, extra, False))
    state.actual = [
        {"user": who.account.user, "keys": [text_of(key)], "sudo": sudo, "accepts": True, "why": ""}
        for who, key, sudo in rows
    ]
    state.save()
    page = text(admin_client, "access")
    assert page.count("Without a lease") > 0
    for glyph in ("admin", "temp", "bad", "no"):
        assert f"cell cell--{glyph}" in page
    assert f"Tom still has keys on {state.server.name}, and nothing grants them." in page
    AccessState.objects.update(looked_at=now - timedelta(hours=5), refused="No <b>admin</b> would be left.")
    page = text(admin_client, "access")
    assert "cell cell--none" in page
    assert "No &lt;b&gt;admin&lt;/b&gt; would be left." in page


def test_drift_is_decided_by_admins_after_a_recent_sign_in(
    admin_client: Client, admin: Person, member: Person, member_client: Client, viewer_client: Client
) -> None:
    drift = finding(managed())
    url = reverse("access-drift-decide", args=[drift.pk])
    assert url in text(admin_client, "access-drift")
    page = text(viewer_client, "access-drift")
    assert url not in page
    for part in (drift.detail["fingerprint"], "/people/deploy/.ssh/authorized_keys, line 1", "stranger@laptop"):
        assert part in page
    assert member_client.post(url, {"answer": "adopt"}).status_code == 403
    assert client_of(admin, recent=False).post(url, {"answer": "adopt"}).status_code == 302
    assert Drift.objects.get().state == "open"
    admin_client.post(url, {"answer": "ask", "person": str(member.pk)})
    page = text(member_client, "my-keys")
    assert "is this yours?" in page
    assert drift.detail["fingerprint"] in page
    assert "is this yours?" not in text(viewer_client, "my-keys")
    reply = reverse("access-drift-reply", args=[drift.pk])
    assert "answered, decided" in viewer_client.post(reply, {"said": "mine"}, follow=True).content.decode()
    member_client.post(reply, {"said": "mine"})
    assert "it is theirs" in text(admin_client, "access-drift")
    admin_client.post(url, {"answer": "adopt", "person": str(member.pk)})
    assert PublicKey.objects.get().person == member
    assert "3 findings adopted" in text(admin_client, "access-drift")
    answer = admin_client.post(url, {"answer": "remove", "person": "x"}, follow=True)
    assert "with the next push" in answer.content.decode()
    assert KeyPush.objects.get().reason == "drift"


def test_enforcing_shows_what_stops_and_is_refused_without_an_admin(admin_client: Client) -> None:
    state = managed()
    finding(state)
    page = text(admin_client, "access-mode", state.server_id)
    assert "What stops working" in page
    assert "stranger@laptop" in page
    answer = admin_client.post(reverse("access-mode", args=[state.server_id]), {"mode": "enforced"})
    assert answer.status_code == 422
    assert "Nothing was changed." in answer.content.decode()


def test_leaving_is_one_button_with_the_name_typed(admin_client: Client, member: Person) -> None:
    managed()
    person = text(admin_client, "people-person", member.pk)
    assert f"{reverse('access-leaving')}?person={member.pk}" in person
    url = reverse("access-leaving")
    assert "Mira Member is leaving?" in admin_client.get(url, {"person": str(member.pk)}).content.decode()
    wrong = admin_client.post(url, {"person": member.pk, "typed": "Mira"})
    assert wrong.status_code == 422
    assert Person.objects.get(pk=member.pk).is_active
    answer = admin_client.post(url, {"person": member.pk, "typed": " Mira Member "}, follow=True)
    page = answer.content.decode()
    assert "Mira Member has left" in page
    assert "0 of 1 server" in page
    clocks = reverse("access-departure", args=[Departure.objects.get().pk])
    part = admin_client.get(clocks, headers={"HX-Request": "true"})
    assert part.content.decode().lstrip().startswith('<section class="section" id="clocks"')
    assert admin_client.get(url, {"person": str(member.pk)}).status_code == 404
    assert admin_client.get(url, {"person": "'--"}).status_code == 404


def test_an_admin_cannot_let_an_owner_leave(admin_client: Client, owner: Person) -> None:
    answer = admin_client.post(reverse("access-leaving"), {"person": owner.pk, "typed": str(owner)})
    assert answer.status_code == 422
    assert Departure.objects.count() == 0


def test_the_clocks_say_what_a_server_that_is_away_means(admin_client: Client, admin: Person, member: Person) -> None:
    key, now = key_of(member), timezone.now()
    for offered in ({str(key.pk): (now + timedelta(hours=40)).isoformat()}, {str(key.pk): None}, {}):
        managed(offered=offered, refused="No admin would be left." if not offered else "")
    departure = services.off_board(actor=admin, person=member, now=now)
    page = text(admin_client, "access-departure", departure.pk)
    for said in ("their lease there ends", "must be reached", "held no key", "No admin would be left."):
        assert said in page


def test_somebody_elses_key_is_not_ones_own_to_remove(
    member_client: Client, admin_client: Client, owner: Person, admin: Person
) -> None:
    key = key_of(owner)
    url = reverse("key-remove", args=[key.pk])
    assert member_client.post(url, {"lost": "on"}).status_code == 404
    assert PublicKey.objects.get().state == "active"
    assert admin_client.post(url, {"lost": "on"}).status_code == 302
    assert PublicKey.objects.get().state == "revoked"


@pytest.mark.parametrize("name", ["access", "my-keys", "access-drift"])
def test_a_page_costs_the_same_for_two_and_for_twelve(
    admin_client: Client, admin: Person, name: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    def fill(count: int) -> None:
        for _ in range(count):
            state, person = managed(), PersonFactory()
            key_of(person)
            services.grant(actor=admin, person=person, server=state.server, now=timezone.now())
            finding(state, asked=admin, state="asked", decided_by=admin)
            services.ask(actor=person, servers=[state.server], why="", now=timezone.now())

    fill(2)
    admin_client.get(reverse(name))
    with django_assert_max_num_queries(45) as few:
        admin_client.get(reverse(name))
    fill(10)
    with django_assert_max_num_queries(45) as many:
        admin_client.get(reverse(name))
    assert len(few) == len(many), [query["sql"] for query in many.captured_queries][-12:]
