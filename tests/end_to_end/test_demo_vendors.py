"""The demo with a fake vendor in the receiver's place."""

import re
from pathlib import Path

import pytest

from tests.end_to_end.product import Product

pytestmark = [pytest.mark.daemon, pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize(
    "key", [pytest.param("braze", id="a property of people"), pytest.param("launchdarkly_audiences", id="a list of people")]
)
def test_the_demo_agrees_with_a_fake_vendor(tmp_path: Path, key: str):
    said = Product(tmp_path / "home").engage("demo", "--destination", key, timeout=300)
    assert "Everything agrees" in said
    assert f"engage connect big_spenders {key} --identify" in said
    first, second = re.findall(r"Identify \+(\d+) -(\d+)", said)
    assert int(first[0]) > 0
    assert int(second[0]) > 0
    assert int(second[1]) > 0
