"""The connection test of a bucket: each thing that can be wrong has its own sentence."""

import io
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apps.backups.facts import StoreTrouble
from apps.backups.stores import s3_words
from apps.backups.stores.base import Place
from apps.backups.stores.s3 import S3Store
from apps.backups.stores.s3_check import NO_LOCK
from apps.backups.stores.s3_words import DENIED
from tests.servers.http import web_server
from tests.servers.s3 import Relay, S3Server

pytestmark = pytest.mark.real
MIB = 1024 * 1024

@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    """Make one bucket for the tests that do not mind company."""
    return s3.bucket()



def code_of(look: Callable[[], Any]) -> str:
    """Return the code of the trouble that a look raises."""
    with pytest.raises(StoreTrouble) as caught:
        look()
    assert caught.value.sentence.endswith((".", "secret"))
    assert "secret-" not in caught.value.sentence
    return caught.value.code



def test_a_good_bucket_is_found_good_and_left_empty(s3: S3Server) -> None:
    store = S3Store(s3.place(s3.bucket(), prefix="some/where"))
    found = store.check()
    assert found.warnings == (NO_LOCK,)
    assert found.facts == {"lock": False, "public": False, "versions": False}
    assert list(store.list("")) == []


def test_a_bucket_with_a_lock_is_recognised(s3: S3Server) -> None:
    assert S3Store(s3.place(s3.bucket(lock=True))).check().facts["lock"] is True


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"who": "stranger"}, "wrong-key", "does not know this access key"),
        ({"secret": "not-it"}, "wrong-secret", "does not belong to the access key"),
        ({"bucket": "mainstay-no-such-bucket"}, "no-bucket", "There is no bucket called"),
        ({"bucket": "Not A Bucket"}, "bad-bucket", "cannot be the name"),
        ({"bucket": ""}, "bad-bucket", "missing"),
        ({"who": "reader"}, "no-right", "no right to write"),
        ({"who": "writer"}, "no-right", "no right to read"),
        ({"who": "nobody"}, "no-right", "no right to list"),
        ({"who": ""}, "wrong-key", "is missing"),
        ({"endpoint": "http://127.0.0.1:9"}, "unreachable", "nothing listens there"),
        ({"endpoint": "http://store.invalid"}, "unreachable", "no address for the name"),
        ({"endpoint": "http://169.254.169.254"}, "unreachable", "metadata"),
        ({"endpoint": "ftp://store.example"}, "bad-endpoint", "whole address"),
        ({"endpoint": "http://user:word@store.example"}, "bad-endpoint", "whole address"),
    ],
)
def test_each_thing_that_can_be_wrong_has_its_own_sentence(
    s3: S3Server, bucket: str, wrong: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(StoreTrouble, match=words) as caught:
        S3Store(s3.place(**{"bucket": bucket, **wrong})).check()
    assert caught.value.code == code
    assert "secret-" not in caught.value.sentence


def test_a_key_that_cannot_delete_is_a_warning(s3: S3Server, bucket: str, relay: Relay) -> None:
    answer = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    refusal = (
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n"
        b"Content-Length: " + str(len(answer)).encode() + b"\r\n\r\n" + answer
    )
    relay.meddle = lambda head: refusal if head.startswith(b"DELETE") else None
    found = S3Store(s3.place(bucket, endpoint=relay.endpoint)).check()
    assert "cannot delete" in found.warnings[0]
    store = S3Store(s3.place(bucket, endpoint=relay.endpoint))
    store.put("kept", io.BytesIO(b"x"), progress=lambda _done: None)
    assert code_of(lambda: store.delete("kept")) == "no-right"
    assert "AccessDenied" in DENIED


def test_a_bucket_open_to_the_world_is_refused_until_confirmed(s3: S3Server) -> None:
    bucket = s3.bucket(public=True)
    with pytest.raises(StoreTrouble, match="Everybody on the internet can read objects and list objects") as caught:
        S3Store(s3.place(bucket)).check()
    assert caught.value.code == "public"
    found = S3Store(s3.place(bucket, public_confirmed=True)).check()
    assert "You confirmed" in found.warnings[0]
    assert list(S3Store(s3.place(bucket)).list("")) == []


def test_a_clock_that_is_far_off_is_named(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = vars(botocore.auth)["get_current_datetime"]
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *a, **k: real(*a, **k) + timedelta(hours=2))
    with pytest.raises(StoreTrouble, match="clocks of this machine") as caught:
        S3Store(s3.place(bucket)).check()
    assert caught.value.code == "clock"


class Web(BaseHTTPRequestHandler):
    """A web server that is no S3 server."""

    def do_GET(self) -> None:
        """Answer everything with a page."""
        page = b"<!doctype html><title>Console</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_PUT = do_HEAD = do_DELETE = do_GET  # noqa: N815 the standard library's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the standard library's name
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[ThreadingHTTPServer]:
    """Run a web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def place(endpoint: str) -> Place:
    """Return a place at any endpoint."""
    return Place(
        "s3", {"endpoint": endpoint, "bucket": "b", "path_style": True}, {"access_key": "k", "secret_key": "s"}
    )


def test_a_server_that_does_not_speak_s3_is_named(web: ThreadingHTTPServer) -> None:
    assert code_of(S3Store(place(f"http://127.0.0.1:{web.server_port}")).check) == "not-s3"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<!doctype html><title>Console</title>", "is not an S3 store. Nothing was kept"),
        (200, b"<html>well formed</html>", "is not an S3 store. Nothing was kept"),
        (200, b'<?xml version="1.0"?><rss><channel/></rss>', "is not an S3 store. Nothing was kept"),
        (200, b'{"hello": "world"}', "is not an S3 store. Nothing was kept"),
        (200, b"", "is not an S3 store. Nothing was kept"),
        (404, b"<html><h1>Not found</h1></html>", "not those of a website"),
        (404, b'{"error": "no such route"}', "it answered 404"),
        (403, b"", "it answered 403"),
        (500, b"<html>broken</html>", "is not an S3 store. Nothing was kept"),
        (502, b"<html>Bad Gateway</html>", "something in front of one: it answered 502"),
        (503, b"", "something in front of one: it answered 503"),
    ],
)
def test_whatever_a_website_answers_a_test_says_that_it_is_no_s3_store(status: int, body: bytes, words: str) -> None:
    with web_server() as server:
        server.status, server.body = status, body
        with pytest.raises(StoreTrouble, match=words) as caught:
            S3Store(place(server.url)).check()
        assert {seen.method for seen in server.seen} == {"GET"}  # nothing was written there
    assert caught.value.code == "not-s3"
    assert "tries again" not in caught.value.sentence


def test_no_sentence_of_a_store_promises_what_a_test_does_not_do() -> None:
    told = [str(meaning[1]) for meaning in s3_words._CODES.values()]
    assert [said for said in told if "tries again" in said or "tried again" in said] == []


def test_a_certificate_that_is_not_trusted_is_named(web: ThreadingHTTPServer, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))
    web.socket = context.wrap_socket(web.socket, server_side=True)
    with pytest.raises(StoreTrouble, match="self-signed") as caught:
        S3Store(place(f"https://127.0.0.1:{web.server_port}")).check()
    assert caught.value.code == "tls"


def test_a_server_that_speaks_no_tls_is_named(web: ThreadingHTTPServer) -> None:
    with pytest.raises(StoreTrouble, match="does not speak TLS") as caught:
        S3Store(place(f"https://127.0.0.1:{web.server_port}")).check()
    assert caught.value.code == "tls"


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path
