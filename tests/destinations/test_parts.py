from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.destinations.parts import MAX_ADDRESS, parts


@given(st.lists(st.text(max_size=2_000), max_size=40), st.integers(1, 7))
def test_every_value_is_in_one_part_once_and_no_part_is_more_than_a_request_carries(values: list[str], most: int) -> None:
    cut = list(parts(values, most))
    assert [value for part in cut for value in part] == list(dict.fromkeys(values))
    for part in cut:
        assert 1 <= len(part) <= most
        assert len(part) == 1 or len(quote(",".join(part))) <= MAX_ADDRESS
