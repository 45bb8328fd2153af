"""Liquid templates within their limits."""

import time

import pytest

from engage_pipelines.domain.mapping import MappingError, compile_mapping
from engage_pipelines.domain.mapping.directives import compile_object_mapping
from engage_pipelines.domain.mapping.resolver import Build

PAYLOAD = {"traits": {"n": 5, "price": 2.0, "text": "12", "name": "ann lee", "tags": ["a", "b"], "on": "2024-03-01T10:05:00Z", "o": {}}}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        pytest.param("{{ traits.name | capitalize }}", "Ann lee", id="a filter"),
        pytest.param("{{ traits.price }} {{ traits.o }} {{ traits.tags }}", "2 [object Object] ab", id="values print as in JavaScript"),
        pytest.param("{{ traits.none }}|{{ traits.none | default: 'x' }}", "|x", id="what is missing prints nothing"),
        pytest.param("{% if traits.text > 5 %}more{% else %}less{% endif %}", "more", id="a text that is a number compares as one"),
        pytest.param("{% if traits.none > 5 or traits.name > 5 %}a{% else %}b{% endif %}", "b", id="what cannot be compared is false"),
        pytest.param("{% if traits.tags contains 'b' and traits.n != 6 %}y{% endif %}", "y", id="contains"),
        pytest.param("{{ 7 | divided_by: 2 | plus: '1.5' | round }}", "5", id="numbers are JavaScript's"),
        pytest.param(
            "{{ traits.on | date: '%Y/%m/%d %H:%M' }} {{ 0 | date: '%b %-d' }} {{ 'soon' | date: '%Y' }}",
            "2024/03/01 10:05 Jan 1 soon",
            id="dates in UTC",
        ),
        pytest.param("{{ traits.name | nosuchfilter | upcase }}", "ANN LEE", id="an unknown filter is skipped"),
        pytest.param("{{ traits.tags | json }}{{ traits.tags | join: '-' }}{{ 'a,b,,' | split: ',' | size }}", '["a","b"]a-b2', id="lists"),
        pytest.param(
            "{% assign v = traits.n | times: 2 %}{% capture c %}<{{ v }}>{% endcapture %}{{ c | escape }}",
            "&lt;10&gt;",
            id="assign and capture",
        ),
    ],
)
def test_a_template_renders(template: str, text: str) -> None:
    assert compile_mapping({"out": {"@liquid": template}})(PAYLOAD) == {"out": text}


@pytest.mark.parametrize(
    "template",
    [
        pytest.param("{% assign a = 'aaaaaaaaaa' %}" + "{% assign a = a | append: a %}" * 30, id="a text that doubles"),
        pytest.param("{{ 'a'" + "| replace: 'a', 'aaaaaaaaaa'" * 25 + " }}", id="a text that grows tenfold"),
        pytest.param("{{ (1..100000000000) | join: ',' }}", id="a range without end"),
    ],
)
def test_a_template_bomb_goes_off_for_nobody(template: str) -> None:
    started = time.process_time()
    with pytest.raises(MappingError, match="memory alloc limit exceeded"):
        compile_mapping({"out": {"@liquid": template}})(PAYLOAD)
    assert time.process_time() - started < 2


def test_numbers_that_square_themselves_end_at_infinity() -> None:
    template = "{% assign a = 99999999 %}" + "{% assign a = a | times: a %}" * 30 + "{{ a }}"
    assert compile_mapping({"out": {"@liquid": template}})({}) == {"out": "Infinity"}


def test_a_disabled_filter_fails_only_where_it_is_reached() -> None:
    apply = compile_object_mapping({"out": {"@liquid": "{% if on %}{{ x | sort }}{% endif %}"}}, Build())
    assert apply({}) == {"out": ""}
    with pytest.raises(MappingError, match='filter "sort" is disabled, line:1, col:12'):
        apply({"on": True})
