"""Names, descriptions and definitions: what none of them may hold, whichever way it comes in."""

import pytest

from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.registry.texts import check_texts


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"name": "VIP\x07s"}, "The name 'VIP\\x07s' holds a control character at place 4", id="a bell in a name"),
        pytest.param({"name": "two\nlines"}, "The name 'two\\nlines' holds a control character", id="a line break in a name"),
        pytest.param({"name": "\x9bA"}, "at place 1: '\\x9b'", id="what moves a terminal's cursor"),
        pytest.param({"description": "a\x00b"}, "The description 'a\\x00b' holds", id="a zero in a description"),
        pytest.param({"definition": "trait('a\x00') = 1"}, "The definition", id="a zero in a definition"),
        pytest.param({"name": "x" * 301}, "The name has 301 characters; at most 300", id="a name that is too long"),
        pytest.param({"description": "x" * 10_001}, "at most 10,000", id="a description that is too long"),
    ],
)
def test_a_text_that_nobody_could_read_is_refused_by_name(values: dict[str, str], said: str):
    with pytest.raises(ConfigurationError) as refused:
        check_texts(values)
    assert said in refused.value.what


def test_what_people_write_is_taken():
    check_texts({"name": "Zoë's “big” 客户 👩‍👩‍👧", "description": "one\r\n\ttwo", "definition": "a\nAND b", "size": 7, "trigger": None})
