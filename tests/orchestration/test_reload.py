"""Asking the webserver to load the definitions again."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from engage_pipelines.orchestration.reload import Reloader


class _Webserver(BaseHTTPRequestHandler):
    asked: list[str]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body["variables"]["name"])
        answer = json.dumps({"data": {"reloadRepositoryLocation": {"__typename": "WorkspaceLocationEntry"}}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webserver() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (_Webserver,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def _ask(reloader: Reloader) -> bool:
    thread = reloader.ask("engage_pipelines")
    if thread is None:
        return False
    thread.join()
    return True


def test_a_reload_is_asked_for_once_until_the_gap_is_over(webserver: tuple[str, list[str]]) -> None:
    url, asked = webserver
    now = [0.0]
    reloader = Reloader(url, gap_s=15, clock=lambda: now[0])
    assert _ask(reloader)
    now[0] = 14.9
    assert not _ask(reloader)
    now[0] = 15.0
    assert _ask(reloader)
    assert asked == ["engage_pipelines", "engage_pipelines"]


def test_without_a_webserver_nothing_happens_and_it_is_tried_again_soon() -> None:
    now = [0.0]
    reloader = Reloader("http://127.0.0.1:9", gap_s=15, retry_s=4, clock=lambda: now[0])
    assert _ask(reloader)
    now[0] = 4.0
    assert _ask(reloader)
