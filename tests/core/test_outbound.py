"""The door to the outside: what is never dialled, what needs an admin's word, and what a hostile server cannot do."""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from apps.core import outbound
from apps.core.outbound import Deadline, Kind, OutboundError, dial, fetch, judge, parse, resolve
from tests.servers.http import WebServer, web_server
from tests.servers.tls import make_certificate

PRIVATE = [
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::1",
]
PRIVATE += ["fc00::1", "fd12:3456::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"]
NEVER = [
    *("0.0.0.0", "169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "192.0.0.8"),
    *("192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1", "5f00::1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::", "::127.0.0.1"),
    *(
        "::ffff:169.254.169.254",
        "::ffff:0:7f00:1",
        "2001:0:7f00:1::",
        "2606:4700::5efe:7f00:1",
        "2606:4700::200:5efe:a00:1",
    ),
]
PUBLIC = [
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "2606:4700::1111",
    "64:ff9b::101:101",
]
PUBLIC += ["2002:101:101::", "::ffff:1.1.1.1"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [(text, Kind.PRIVATE) for text in PRIVATE] + [(t, Kind.NEVER) for t in NEVER] + [(t, Kind.PUBLIC) for t in PUBLIC],
)
def test_each_address_is_judged_by_our_own_table(text: str, kind: Kind) -> None:
    assert judge(ipaddress.ip_address(text)) is kind


@examples(deadline=None)  # the machine may be busy
@given(st.ip_addresses(v=4))
def test_an_address_hidden_in_ipv6_is_never_easier_to_reach_than_itself(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    inner = judge(address)
    for hidden in (number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80, 0xFFFF << 48 | number):
        outer = judge(ipaddress.IPv6Address(hidden))
        assert (outer is Kind.PUBLIC) <= (inner is Kind.PUBLIC)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f.1", "127.1", "017700000001", "①②⑦.0.0.1", "localhost", "127.0.0.1", "::1"]
)
def test_every_spelling_of_loopback_needs_an_admins_word(host: str) -> None:
    with pytest.raises(OutboundError) as caught:
        resolve(host, 80, private=False)
    assert caught.value.permanent
    assert "private network" in str(caught.value)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "2852039166", "0xa9fea9fe", "::ffff:169.254.169.254", "168.63.129.16"]
)
def test_metadata_is_never_reached_even_with_an_admins_word(host: str) -> None:
    with pytest.raises(OutboundError, match="never talks"):
        resolve(host, 80, private=True)


def test_one_bad_answer_among_good_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("1.1.1.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(OutboundError, match="private network"):
        resolve("rebinding.example.com", 80, private=False)


def test_the_checked_address_is_dialled_without_a_second_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, *more: Any, **named: Any) -> Any:
        if host == "rebinding.example.com":
            asked.append(host)
            return real("127.0.0.1" if len(asked) == 1 else "169.254.169.254", *more, **named)
        return real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with web_server() as web:
        answer = fetch(f"http://rebinding.example.com:{web.port}/", private=True)
        assert answer.status == 200
        assert web.seen[0].headers["host"] == f"rebinding.example.com:{web.port}"
    assert asked == ["rebinding.example.com"]


def test_the_installation_can_forbid_private_addresses_altogether(settings: object, web: WebServer) -> None:
    settings.MAINSTAY_ALLOW_PRIVATE = False  # type: ignore[attr-defined]
    with pytest.raises(OutboundError, match="private network"):
        fetch(web.url, private=True)
    assert web.seen == []


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com",
            "example.com",
            "",
            "http://",
            "https:///x",
        ),
        *("http://example.com@127.0.0.1/", "http://example.com\\@127.0.0.1/", "http://u:p@example.com/", "http://a b/"),
        *("http://example.com:99999/", "http://example.com/\r\nX: y", "http://[::1", "http://example.com/ü", "//x/"),
    ],
)
def test_what_is_not_a_plain_web_address_is_refused_before_any_look_up(url: str) -> None:
    with pytest.raises(OutboundError):
        parse(url)


@examples(deadline=None)  # the machine may be busy
@given(st.text(max_size=60))
def test_no_text_makes_the_parser_fall_over(text: str) -> None:
    for url in (text, f"http://{text}", f"https://{text}/{text}"):
        try:
            place = parse(url)
        except OutboundError:
            continue
        assert place.host
        assert 0 < place.port < 65536


@pytest.mark.parametrize("host", ["", "a" * 300, "fe80::1%eth0", "x/y", "x y", "a..b", "\x00", "." * 5, "xn--\udcff"])
def test_what_is_no_host_name_gives_a_sentence(host: str) -> None:
    with pytest.raises(OutboundError):
        resolve(host, 80, private=True)


@pytest.fixture
def web() -> Iterator[WebServer]:
    """Run a web server."""
    with web_server() as server:
        yield server


def test_a_redirect_is_returned_and_not_followed(web: WebServer) -> None:
    web.status, web.headers = 302, {"Location": "http://169.254.169.254/latest/meta-data/"}
    assert fetch(web.url, private=True).status == 302
    assert len(web.seen) == 1


def test_no_proxy_and_no_credentials_are_taken_from_the_environment(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch(web.url, private=True).status == 200
    assert {"authorization", "cookie"}.isdisjoint(web.seen[0].headers)


def test_a_big_answer_is_cut_at_the_limit(web: WebServer) -> None:
    web.body = b"x" * 3_000_000
    assert len(fetch(web.url, private=True, most=1000).body) == 1000


@pytest.mark.parametrize("drip", [False, True])
def test_a_server_that_hangs_or_drips_is_cut_at_the_deadline(web: WebServer, drip: bool) -> None:  # noqa: FBT001
    web.hang, web.drip = threading.Event(), drip
    began = time.monotonic()
    with pytest.raises(OutboundError, match=r"did not answer within|broke|web server") as caught:
        fetch(web.url, private=True, seconds=0.6)
    assert time.monotonic() - began < 5
    assert not caught.value.permanent


def test_a_closed_port_says_that_nothing_listens(web: WebServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(OutboundError, match="nothing listens there"):
            fetch(f"http://127.0.0.1:{port}/", private=True)


def test_a_certificate_of_an_unknown_authority_or_another_name_is_refused(tmp_path: Path) -> None:
    good = make_certificate(tmp_path, "127.0.0.1")
    with web_server(context=good.context) as web:
        with pytest.raises(OutboundError, match="not trusted") as caught:
            fetch(f"{web.url}/secret-path", private=True)
        assert "secret-path" not in str(caught.value)
        assert fetch(web.url, private=True, authority=good.authority).status == 200
        with pytest.raises(OutboundError, match="not trusted"):
            fetch(f"https://localhost:{web.port}/", private=True, authority=good.authority)


def test_a_web_server_is_not_spoken_to_on_the_ports_of_other_services() -> None:
    with pytest.raises(OutboundError, match="Port 25"):
        fetch("http://example.com:25/", private=False)


def test_the_path_never_stands_in_an_error(web: WebServer) -> None:
    web.port = 1
    with pytest.raises(OutboundError) as caught:
        fetch(f"{web.url}/services/T000/B000/SECRET?key=SECRET", private=True)
    assert "SECRET" not in str(caught.value)


def test_a_look_up_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [()] * (not forever.wait(20)))
    with pytest.raises(OutboundError, match="was not answered"):
        resolve("slow.example.com", 80, private=False, seconds=0.2)
    forever.set()


def test_a_name_without_an_address_gives_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", none)
    with pytest.raises(OutboundError, match="Check its spelling") as caught:
        resolve("no.example.com", 80, private=False)
    assert not caught.value.permanent


def test_errors_of_the_code_inside_a_connection_are_not_taken_for_the_network(web: WebServer) -> None:
    with pytest.raises(KeyError), dial("127.0.0.1", web.port, private=True, deadline=Deadline(5)):
        raise KeyError("mine")


def test_something_that_is_no_web_server_gives_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            other, _ = listener.accept()
            with other:
                other.recv(4096)
                other.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(OutboundError, match="as a web server does"):
            fetch(f"http://127.0.0.1:{listener.getsockname()[1]}/", private=True)
        thread.join(5)


def test_the_table_holds_no_network_twice() -> None:
    nets = [*outbound._METADATA, *outbound._PRIVATE, *outbound._NEVER]
    assert len(nets) == len(set(nets))
