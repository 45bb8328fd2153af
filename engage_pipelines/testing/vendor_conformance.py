"""The conformance suite of types for a vendor's API: what `DestinationConformance` holds, and lists, tokens, fields and the oracle's cases.

    class TestPostbox(VendorConformance):
        destination = Postbox()

The vendor is the `Fake` of `testing/vendors/<key>.py`; it knows the settings and secrets. Frozen cases lie in
`tests/data/destinations/<key>.jsonl`; `differences` names on purpose where ours are not the oracle's requests.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, cast

import pytest

from engage_pipelines.destinations.api import ApiDestination
from engage_pipelines.destinations.authentication import MemoryTokens, OAuth2, Token
from engage_pipelines.destinations.base import ListId, Settings, Stop, Target
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.conformance import DestinationConformance
from engage_pipelines.testing.differences import COMPARED_HEADERS, Difference, compare
from engage_pipelines.testing.vendor import FakeApi, FakeVendor, Switchboard, fake_vendor


class VendorConformance(DestinationConformance):
    """Inherit as `Test...` and name the type."""

    differences: ClassVar[tuple[Difference, ...]] = ()
    compared_headers: ClassVar[frozenset[str]] = COMPARED_HEADERS

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        kind = getattr(cls, "destination", None)
        if not isinstance(kind, ApiDestination):
            return
        for name in _unneeded(kind):
            if name not in vars(cls):
                setattr(cls, name, None)

    @property
    def kind(self) -> ApiDestination:
        return cast(ApiDestination, self.destination)

    def fake(self) -> FakeApi:
        """A fresh fake vendor."""
        return fake_vendor(self.destination.key)

    def vendor(self) -> FakeVendor | None:
        return self.fake()

    @property
    def secrets(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride] (the fake knows them)
        return self.fake().secrets

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return self.fake().settings(url)

    def ready(self, settings: Settings, vendor: FakeVendor | None) -> None:
        if isinstance(self.kind.authentication, OAuth2) and isinstance(vendor, FakeApi):
            settings.keep_tokens_in(MemoryTokens(Token(vendor.access)))

    # ------------------------------------------------------------------ forms

    def test_forms_know_its_settings_and_fields(self) -> None:
        schema = self.destination.settings_schema()
        secret = {name for name, shape in schema["properties"].items() if "writeOnly" in json.dumps(shape)}
        assert secret == self.destination.settings_model.secret_fields()
        for shape in (schema, *(action.schema() for action in self.destination.actions)):
            for name, field in shape["properties"].items():
                assert field.get("description"), f"{name} has no description"

    # ------------------------------------------------------------------ lists

    def test_the_list_that_is_there_is_found(self, bench: Bench) -> None:
        assert self._find(bench, bench.target()) == ListId(str(bench.fake.list_id))

    def test_a_list_is_made_where_there_is_none_and_found_from_then_on(self, bench: Bench) -> None:
        wanted = replace(bench.target(), external_id=None, name="Nobody has this yet", computation="nobody_has_this_yet")
        assert self._find(bench, wanted) is None
        made = bench.destination.create_list(settings=bench.settings, target=wanted, deadline_s=5)
        assert isinstance(made, ListId)
        assert made.value
        assert self._find(bench, replace(wanted, external_id=made.value)) == made

    def test_no_list_is_made_without_credentials(self, bench: Bench, board: Switchboard) -> None:
        board.always_reply_with(self.fake().unauthorised())
        for verdict in (
            self._find(bench, bench.target()),
            bench.destination.create_list(settings=bench.settings, target=bench.target(), deadline_s=5),
        ):
            assert isinstance(verdict, Stop)

    def _find(self, bench: Bench, target: Target) -> object:
        return bench.destination.find_list(settings=bench.settings, target=target, deadline_s=5)

    # ------------------------------------------------------------------ tokens

    def test_an_expired_token_is_renewed_once_and_the_request_said_again(self, bench: Bench) -> None:
        bench.fake.expire()
        assert bench.deliver([bench.record("u-1")]) == {}
        assert bench.held() == {"u-1": True}
        assert bench.settings.tokens.current() == Token(bench.fake.access, None, 3600)

    def test_a_token_that_cannot_be_renewed_stops_with_a_remedy(self, bench: Bench) -> None:
        bench.fake.expire()
        bench.fake.refresh_works = False
        verdict = bench.send([bench.record("u-1")])
        assert isinstance(verdict, Stop)
        assert "refresh token" in verdict.remedy

    # ------------------------------------------------------------------ the oracle

    def test_its_requests_are_the_oracles_but_for_the_differences_that_have_a_name(self) -> None:
        path = self._cases()
        if path is None:
            pytest.skip(f"{self.destination.key} has no counterpart to be compared with")
        result = compare(path, self.differences, headers=self.compared_headers)
        assert result.cases >= 5
        name, mismatch = next(iter(result.mismatches.items()), ("", ""))
        differing = ", ".join(result.mismatches)
        assert not name, f"{len(result.mismatches)} of {result.cases} differ ({differing}); the first: {mismatch}"
        assert {difference.why for difference in self.differences} == result.used

    def _cases(self) -> Path | None:
        folders = Path(inspect.getfile(type(self))).parents
        found = (folder / "data" / "destinations" / f"{self.destination.key}.jsonl" for folder in folders)
        return next((path for path in found if path.exists()), None)


def _unneeded(kind: ApiDestination) -> list[str]:
    """The tests that are about what this type does not have."""
    lists = (
        ()
        if kind.creates_lists
        else (
            "test_the_list_that_is_there_is_found",
            "test_a_list_is_made_where_there_is_none_and_found_from_then_on",
            "test_no_list_is_made_without_credentials",
        )
    )
    tokens = (
        ()
        if isinstance(kind.authentication, OAuth2)
        else (
            "test_an_expired_token_is_renewed_once_and_the_request_said_again",
            "test_a_token_that_cannot_be_renewed_stops_with_a_remedy",
        )
    )
    return [*lists, *tokens]
