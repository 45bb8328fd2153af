from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr

from engage_pipelines.destinations.base import Accepted, Bisect, DestinationType, Limits, Record, Settings, Target, Verdict, refuse_oversize
from engage_pipelines.domain.errors import ConfigurationError


class Many(Settings):
    """Settings with secrets in all places."""

    plain: str = "shown"
    one: SecretStr
    maybe: SecretStr | None = None
    by_name: dict[str, SecretStr] = Field(default_factory=dict)
    in_order: tuple[SecretStr, ...] = ()


class Kind(DestinationType):
    """A type with those settings."""

    key = "kind"
    settings_model = Many

    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        return Accepted()


def record(size: int) -> Record:
    return Record("m", "user_id:u", True, b"x" * size)


def test_secrets_are_found_wherever_they_are_and_never_shown() -> None:
    given = {"one": "alpha", "by_name": {"a": "beta"}, "in_order": ["gamma", ""]}
    settings = Kind().configure(given, files_dir=Path())
    assert Many.secret_fields() == {"one", "maybe", "by_name", "in_order"}
    assert sorted(settings.secret_values()) == ["alpha", "beta", "gamma"]
    assert not any(secret in repr(settings) + str(settings) for secret in settings.secret_values())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param({}, "one: Field required", id="a setting is missing"),
        pytest.param({"one": "s3cret", "onne": 1}, "onne: Extra inputs", id="a setting that is none"),
        pytest.param({"one": {"s3cret": 1}}, "one: Input should be", id="a secret of the wrong kind"),
        pytest.param({"one": "s3cret", "files_dir": "/"}, "the operator's", id="a setting of the operator"),
    ],
)
def test_settings_that_do_not_fit_are_named_with_what_there_is_and_no_value(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        Kind().configure(values, files_dir=Path())
    assert words in str(refusal.value)
    assert "s3cret" not in str(refusal.value)


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    most_records=st.integers(1, 6),
    most_bytes=st.integers(2, 100),
    most_record=st.none() | st.integers(1, 40),
)
def test_what_is_refused_for_its_size_ends_with_single_records(
    sizes: list[int], most_records: int, most_bytes: int, most_record: int | None
) -> None:
    limits = Limits(most_records, most_bytes, most_record)
    todo, sent = [[record(size) for size in sizes]], 0
    while todo:
        batch = todo.pop()
        match refuse_oversize(batch, limits):
            case None:
                assert len(batch) <= most_records
                assert sum(len(one.body) + 1 for one in batch) <= most_bytes
                sent += len(batch)
            case Bisect():
                assert len(batch) > 1
                todo += [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
            case Accepted(rejected):
                assert list(rejected) == [0]
                assert len(batch) == 1
    alone = [size for size in sizes if size + 1 <= most_bytes and (most_record is None or size <= most_record)]
    assert sent == len(alone)


def test_nobodys_data_is_in_the_repr_of_a_record() -> None:
    shown = repr(Record("m-1", "email:ana@example.test", True, b'{"email":"ana@example.test"}'))
    assert "m-1" in shown
    assert "ana" not in shown
