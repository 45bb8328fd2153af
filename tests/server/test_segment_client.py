"""Segment's own TypeScript client, unchanged, against the server as `engage serve` runs it: `make test-node`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engage_pipelines.demo.processes import ended_together
from tests.server.world import KEY, World

FOLDER = os.environ.get("ENGAGE_SDK_FOLDER", "")
"""Where the client is installed; `make test-node` installs it."""

pytestmark = pytest.mark.skipif(not FOLDER, reason="needs Node and Segment's client; run make test-node")

OPERATIONS = {
    "listSpaces", "getSpace",
    "listAudiences", "getAudience", "updateAudienceForSpace", "removeAudienceFromSpace",
    "getDestinationsCatalog", "getDestinationMetadata", "getSourcesCatalog", "getWarehousesCatalog",
    "listDestinations", "createDestination", "getDestination", "updateDestination", "deleteDestination",
    "listSubscriptionsFromDestination", "createDestinationSubscription", "getSubscriptionFromDestination",
    "updateSubscriptionForDestination", "removeSubscriptionFromDestination", "listDeliveryMetricsSummaryFromDestination",
    "listComputedTraits", "getComputedTrait", "updateComputedTraitForSpace", "removeComputedTraitFromSpace",
    "replaceMessagingSubscriptionsInSpaces", "batchQueryMessagingSubscriptionsForSpace",
    "getEgressSuccessMetricsFromDeliveryOverview", "getEgressFailedMetricsFromDeliveryOverview",
    "getFilteredAtDestinationMetricsFromDeliveryOverview",
    "listSources", "getSource", "listConnectedDestinationsFromSource", "getWorkspace", "listAuditEvents",
}  # fmt: skip


@pytest.fixture
def url(world: World) -> Iterator[str]:
    """The address of a server process on the world's database."""
    environment = {**os.environ, "ENGAGE_HOME": str(world.settings.home), "ENGAGE_KEYS": KEY}
    words = [sys.executable, "-c", "from engage_pipelines.cli import main; main()", "serve", "--port", "0"]
    with ended_together() as started:
        process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
        started.append(process)
        assert process.stdout is not None
        found = re.search(r"API: (\S+)", process.stdout.readline())
        assert found
        yield found[1]
        process.terminate()
        assert process.wait(60) == 0


def test_segments_client_finds_every_operation_that_it_has(world: World, url: str) -> None:
    for name in ("One", "Two", "Zero"):
        world.audience(name)
    world.trait("Spend")
    script = Path(__file__).parent / "sdk" / "drive.js"
    words = ["node", str(script), url, world.token(), world.space.id, world.source.id]
    environment = {**os.environ, "NODE_PATH": f"{FOLDER}/node_modules"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert set(json.loads(ended.stdout)) == OPERATIONS
