"""The OpenAPI document, and schemathesis asking whatever it can think of by it: nothing makes the server fail."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

with warnings.catch_warnings():
    # schemathesis and Starlette's test client bring warnings of their own to their import
    warnings.simplefilter("ignore")
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis import GenerationMode

from engage_pipelines.server.api import application, operations
from engage_pipelines.server.api.openapi import document
from tests.server.world import World

EXAMPLES = 4


def test_the_document_has_every_operation_and_no_other(world: World) -> None:
    told = world.raw("GET", "/api/openapi.json").json()
    said = {(method.upper(), path): one["operationId"] for path, methods in told["paths"].items() for method, one in methods.items()}
    assert said == {(one.method, one.path): one.name for one in operations()}
    assert told["servers"] == [{"url": "/api"}]
    assert application(path="/api") is application(path="/api")


def test_every_reference_in_the_document_leads_somewhere() -> None:
    told = document(operations(), path="/api")
    names = set(told["components"]["schemas"])
    assert {reference.rpartition("/")[2] for reference in _references(told)} <= names


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


@pytest.mark.slow
@pytest.mark.parametrize("operation", [pytest.param(one, id=one.name) for one in operations()])
def test_nothing_that_the_document_allows_or_forbids_makes_the_server_fail(world: World, operation: Any) -> None:
    schema = schemathesis.openapi.from_dict(document([operation], path="/api"))
    (case_of,) = [found.ok() for found in schema.get_all_operations()]
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    cases = [case_of.as_strategy(generation_mode=mode) for mode in modes]
    audience, to, made = world.connected()
    trait = world.trait()
    known = {
        "spaceId": "main",
        "sourceId": world.source.id,
        "audienceType": "USERS",
        "destinationMetadataId": "webhook",
        "audienceId": audience["id"],
        "traitId": trait["id"],
        "destinationId": to["id"],
        "connectionId": made["connection"]["id"],
        **({"id": audience["id"]} if "/audiences/{id}" in operation.path else {}),
        **({"id": trait["id"]} if "/computed-traits/{id}" in operation.path else {}),
    }

    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=cases[0] | cases[1])
    def ask(case: Any) -> None:
        # what matters lies behind things that there are
        case.path_parameters = {name: known.get(name, value) for name, value in (case.path_parameters or {}).items()}
        sent = case.as_transport_kwargs(base_url="http://localhost:4000/api")
        headers = {name: value for name, value in sent["headers"].items() if name.lower() != "host"} | {
            "Authorization": f"Bearer {world.token()}"
        }
        options = {name: sent[name] for name in ("json", "data", "params", "cookies") if sent.get(name)}
        if "data" in options:
            options["content"] = options.pop("data")
        path = sent["url"].removeprefix("http://localhost:4000")
        answer = world.raw(sent["method"], path, headers=headers, **options)
        assert answer.status_code < 500, answer.text
        assert answer.status_code != 401

    ask()
