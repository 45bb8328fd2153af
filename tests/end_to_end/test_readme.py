"""What the README tells people to type works as it stands there."""

import hashlib
import hmac
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from engage_pipelines.testing.local_server import LocalServer, Received, Reply
from tests.end_to_end.dagster_dev import engage_dev, free_port
from tests.end_to_end.product import ROOT, Product

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
SECRET = "signing-secret-of-the-test"


def commands(block: str) -> list[list[str]]:
    """The words of each line, without its comment."""
    return [words for line in block.splitlines() if (words := shlex.split(line, comments=True))]


def test_it_is_short():
    assert len(README.splitlines()) < 150


def test_the_two_commands_are_targets_of_make():
    for words in commands(BLOCKS[0]):
        assert subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_every_page_it_links_to_is_there():
    for page in re.findall(r"\]\(([^)#]+)", README):
        assert page.startswith("https://") or (ROOT / page).exists(), page


@pytest.mark.daemon
@pytest.mark.slow
def test_the_commands_by_hand_deliver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Line by line; only the address of the webhook is ours, since nobody listens at example.com."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    product, received = Product(tmp_path / "home"), []
    orders = [
        {"type": "track", "event": "Order Completed", "userId": user, "messageId": f"{user}-{n}", "timestamp": "2099-01-01T00:00:00Z"}
        for user, count in (("u1", 3), ("u2", 2))
        for n in range(count)
    ]
    (tmp_path / "calls.jsonl").write_text("\n".join(json.dumps(order) for order in orders))

    def take(request: Received) -> Reply:
        received.append(request)
        return Reply()

    with LocalServer(take) as server, engage_dev(product, free_port()):
        for words in commands(BLOCKS[1]):
            if words[0] != "engage" or words[1] == "dev":
                continue
            line = " ".join(words[1:])
            arguments = [
                word.replace("calls.jsonl.gz", str(tmp_path / "calls.jsonl")).replace("https://example.com/hook", f"{server.url}/hook")
                for word in words[1:]
            ]
            if "destination create" in line:
                arguments += ["--set", "allow_private_addresses=true"]
            if arguments[0] == "audience":
                product.engage("space", "create", "default", "--evaluate-at", "2099-01-02T00:00:00Z")
            product.engage(*arguments)
    (request,) = received
    (record,) = json.loads(request.body)
    assert (record["userId"], record["traits"]) == ("u1", {"vips": True})
    signature = dict(part.split("=", 1) for part in request.headers["x-engage-signature"].split(","))
    expected = hmac.new(SECRET.encode(), signature["t"].encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert signature["v1"] == expected
