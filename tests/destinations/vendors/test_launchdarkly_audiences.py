from engage_pipelines.destinations.base import Accepted, Stop
from engage_pipelines.destinations.launchdarkly_audiences import LaunchDarklyAudiences
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.vendor_conformance import VendorConformance


class TestLaunchDarklyAudiences(VendorConformance):
    destination = LaunchDarklyAudiences()

    def test_an_unknown_environment_is_found_out_before_anybody_is_sent(self, bench: Bench) -> None:
        assert bench.destination.test(bench.settings) == Accepted()
        elsewhere = bench.settings.model_copy(update={"client_id": "another"})
        verdict = bench.destination.test(elsewhere)
        assert isinstance(verdict, Stop)
        assert "client_id" in verdict.remedy
