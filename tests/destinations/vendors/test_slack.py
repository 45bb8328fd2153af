from typing import Any

import pytest

from engage_pipelines.destinations.base import Accepted, Stop
from engage_pipelines.destinations.slack import Slack
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.local_server import Reply
from engage_pipelines.testing.vendor import Switchboard
from engage_pipelines.testing.vendor_conformance import VendorConformance


def _unsigned(case: Any, requests: list[Seen]) -> list[Seen]:
    signed = ("username", "icon_url")
    return [{**request, "body": {name: value for name, value in request["body"].items() if name not in signed}} for request in requests]


class TestSlack(VendorConformance):
    destination = Slack()
    differences = (Difference("messages bear the name of the webhook, not Segment's and a picture from a closed service", _unsigned),)

    def test_a_name_cannot_mention_a_channel(self, bench: Bench) -> None:
        bench.deliver([bench.record("<!channel> & co")])
        assert bench.takings() == ["&lt;!channel&gt; &amp; co entered big_spenders"]

    @pytest.mark.parametrize(
        "status", [pytest.param(404, id="the webhook was taken away"), pytest.param(410, id="the channel is archived")]
    )
    def test_a_webhook_that_works_no_more_stops_everything(self, bench: Bench, board: Switchboard, status: int) -> None:
        board.always_reply_with(Reply(status, b"channel_is_archived"))
        verdict = bench.send([bench.record("u-1")])
        assert isinstance(verdict, Stop)
        assert "channel_is_archived" in verdict.reason

    def test_the_webhook_may_be_a_reference_to_where_it_is_kept(self, bench: Bench) -> None:
        assert self.destination.configure({"webhook_url": "env:HOOK"}, files_dir=bench.folder)

    def test_a_webhook_that_cannot_be_asked_is_refused(self, bench: Bench) -> None:
        with pytest.raises(ConfigurationError, match="webhook_url"):
            self.destination.configure({"webhook_url": "ftp://hooks.test/x"}, files_dir=bench.folder)

    def test_trying_it_out_posts_nothing(self, bench: Bench) -> None:
        assert bench.destination.test(bench.settings) == Accepted()
        assert bench.takings() == []
