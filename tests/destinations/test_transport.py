import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from engage_pipelines.destinations.base import Accepted, Backoff, Stop
from engage_pipelines.destinations.http import Answer, Reach, Request
from engage_pipelines.destinations.sending import direct
from engage_pipelines.destinations.sending.connections import AddressRefusedError, check_address
from engage_pipelines.destinations.sending.exchange import MAX_ANSWER_BYTES
from engage_pipelines.destinations.sending.transport import perform
from engage_pipelines.destinations.webhook import Webhook
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.local_server import LocalServer, Received, Reply, Wire


def post(url: str, *, deadline_s: float = 5.0, reach: Reach = Reach.ANYWHERE) -> object:
    return perform(Request(url, b"the-body", {"Authorization": "Bearer the-token"}), deadline_s=deadline_s, reach=reach)


class Noting:
    """Answers with what a function says, and notes what came."""

    def __init__(self, respond: Callable[[Received], Reply]) -> None:
        self.requests: list[Received] = []
        self._respond = respond

    def __call__(self, request: Received) -> Reply:
        self.requests.append(request)
        return self._respond(request)


def test_an_answer_comes_back_whole() -> None:
    with LocalServer(lambda _: Reply(201, b"fine", {"X-Some": "Header"})) as server:
        answer = post(server.url)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.body, answer.whole, answer.headers["x-some"]) == (201, b"fine", True, "Header")


def test_connections_are_kept_for_the_next_request() -> None:
    accepted: list[object] = []
    with LocalServer(lambda _: Reply()) as server:
        take = server._server.get_request
        server._server.get_request = lambda: accepted.append(1) or take()  # type: ignore[method-assign]
        for _ in range(5):
            assert isinstance(post(server.url), Answer)
    assert len(accepted) == 1


def test_a_connection_that_the_server_closed_in_the_meantime_is_replaced() -> None:
    with LocalServer(lambda _: Reply(200, b"{}", {"Connection": "close"})) as server:
        for _ in range(3):
            assert isinstance(post(server.url), Answer)


def test_one_redirect_on_the_same_host_keeps_method_body_and_login() -> None:
    noting = Noting(lambda request: Reply(302, b"", {"Location": "/new?x=1"}) if request.path == "/old" else Reply())
    with LocalServer(noting) as server:
        answer = post(f"{server.url}/old")
    assert isinstance(answer, Answer)
    assert answer.status == 200
    assert [(request.method, request.path, request.body) for request in noting.requests] == [
        ("POST", "/old", b"the-body"),
        ("POST", "/new?x=1", b"the-body"),
    ]
    assert noting.requests[1].headers["authorization"] == "Bearer the-token"


@pytest.mark.parametrize(
    "location", ["http://127.0.0.2:{port}/", "http://127.0.0.1:1/", "ftp://127.0.0.1:{port}/", "//other.test/", "", "http://[bad"]
)
def test_a_redirect_elsewhere_is_not_followed(location: str) -> None:
    noting = Noting(lambda request: Reply(307, b"", {"Location": location.format(port=request.headers["host"].rpartition(":")[2])}))
    with LocalServer(noting) as server:
        answer = post(server.url)
    assert isinstance(answer, Answer)
    assert answer.status == 307
    assert len(noting.requests) <= 2


def test_an_endless_answer_is_cut_at_its_cap_and_in_time() -> None:
    with LocalServer(lambda _: Reply(wire=Wire.ENDLESS)) as server:
        answer = post(server.url)
    assert isinstance(answer, Answer)
    assert not answer.whole
    assert len(answer.body) == MAX_ANSWER_BYTES


def test_a_name_service_that_hangs_does_not_outlast_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10) or [])
    began = time.monotonic()
    verdict = post("http://slow.test/", deadline_s=0.2)
    over.set()
    assert isinstance(verdict, Backoff)
    assert time.monotonic() - began < 1.5


def test_a_name_that_nobody_knows_is_tried_again_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    verdict = post("http://user:hunter2@nobody.test/path?key=hunter2")
    assert isinstance(verdict, Backoff)
    assert "http://nobody.test" in verdict.reason
    assert "hunter2" not in verdict.reason


@pytest.mark.parametrize("url", ["http://" + "a" * 300 + ".test/", "http://exa mple.test/", "http://\udcff.test/"])
def test_an_address_that_is_none_stops_or_waits_but_raises_nothing(url: str) -> None:
    assert isinstance(post(url), Stop | Backoff)


def test_a_name_that_leads_to_a_private_address_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    noting = Noting(lambda _: Reply())
    with LocalServer(noting) as server:
        port = int(server.url.rpartition(":")[2])
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))])
        verdict = post(f"http://innocent.test:{port}/", reach=Reach.PUBLIC)
    assert isinstance(verdict, Stop)
    assert "allow_private_addresses" in verdict.remedy
    assert noting.requests == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111"])
def test_public_addresses_are_allowed(address: str) -> None:
    check_address(address, Reach.PUBLIC)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "0.0.0.0",
        "100.64.0.1",
        "::1",
        "::",
        "fc00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "fe80::1%eth0",
    ],
)
def test_private_addresses_are_refused_however_they_are_written(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        check_address(address, Reach.PUBLIC)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254", "224.0.0.1"]
)
def test_metadata_addresses_are_refused_wherever_one_may_go(address: str) -> None:
    with pytest.raises(AddressRefusedError):
        check_address(address, Reach.ANYWHERE)


def certificate(folder: Path, host: str) -> ssl.SSLContext:
    """A server's context with a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem")
    return context


class _Tls(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Tls)
    server.socket = certificate(tmp_path, "localhost").wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_certificate_that_nobody_vouches_for_stops_with_a_remedy(tls_port: int) -> None:
    verdict = post(f"https://localhost:{tls_port}/")
    assert isinstance(verdict, Stop)
    assert "certificate" in verdict.reason
    assert verdict.remedy


def test_a_certificate_that_fits_is_taken_and_one_for_another_host_is_not(
    tls_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certifi.where", lambda: str(tmp_path / "cert.pem"))
    direct.tls_context.cache_clear()
    answer = post(f"https://localhost:{tls_port}/")
    assert isinstance(answer, Answer)
    assert answer.status == 200
    verdict = post(f"https://127.0.0.1:{tls_port}/")
    assert isinstance(verdict, Stop)
    assert "does not fit" in verdict.reason


def test_plain_http_where_tls_was_expected_is_tried_again() -> None:
    with LocalServer(lambda _: Reply()) as server:
        assert isinstance(post(server.url.replace("http:", "https:")), Backoff)


def test_a_type_may_compress_and_the_bytes_stay_the_same() -> None:
    class Compressed(Webhook):
        compressed = True

    noting = Noting(lambda _: Reply())
    with LocalServer(noting) as server:
        settings = Compressed().configure({"url": server.url, "allow_private_addresses": True}, files_dir=Path())
        bench = Bench(Compressed(), settings, Path(), lambda _: {}, lambda _: {}, None)
        record = bench.record("u-1")
        for _ in range(2):
            assert bench.send([record]) == Accepted()
    assert [request.headers["content-encoding"] for request in noting.requests] == ["gzip", "gzip"]
    assert noting.requests[0].body == noting.requests[1].body == b"[" + record.body + b"]"


def test_no_cookie_comes_back_since_it_may_be_another_destinations() -> None:
    noting = Noting(lambda _: Reply(200, b"{}", {"Set-Cookie": "session=1; Path=/"}))
    with LocalServer(noting) as server:
        for _ in range(2):
            post(server.url)
    assert "cookie" not in noting.requests[1].headers


def test_no_login_comes_from_the_netrc_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    noting = Noting(lambda _: Reply())
    with LocalServer(noting) as server:
        post(server.url)
    assert noting.requests[0].headers["authorization"] == "Bearer the-token"
