import hashlib
from collections.abc import Callable

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.destinations import normalising as n
from engage_pipelines.destinations.fields import UnusableError


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("normalise", "given_", "kept"),
    [
        pytest.param(n.email, "  Ana@Example.TEST ", "ana@example.test", id="an address in capitals with spaces"),
        pytest.param(n.email, "zoë@köln.example", "zoë@köln.example", id="an address not in ASCII"),
        pytest.param(n.google_email, "A.Na+News@gmail.com", "ana@gmail.com", id="dots and a plus at Google"),
        pytest.param(n.google_email, "a.na+news@example.test", "a.na+news@example.test", id="dots and a plus elsewhere"),
        pytest.param(n.phone, "+49 (0)151 23456-789", "+4915123456789", id="a phone number as people write it"),
        pytest.param(n.phone, "+1 415 555 0105", "+14155550105", id="a phone number with a country"),
        pytest.param(n.name, " O'Brien-Łukasz ", "obrienłukasz", id="a name with punctuation"),
        pytest.param(n.country, " DE", "de", id="a country"),
        pytest.param(n.postal_code, "SW1A 1AA", "sw1a1aa", id="a postal code"),
        pytest.param(n.digits, "a1-b2", "12", id="digits"),
    ],
)
def test_a_value_is_normalised(normalise: Callable[[str], str], given_: str, kept: str) -> None:
    assert normalise(given_) == kept
    assert normalise(kept) == kept


def test_a_number_without_a_country_takes_the_one_that_is_given() -> None:
    assert n.phone("0151 23456789", region="de") == "+4915123456789"
    with pytest.raises(UnusableError, match="country code"):
        n.phone("0151 23456789")


@pytest.mark.parametrize(
    ("normalise", "value"),
    [
        *(
            pytest.param(n.email, text, id=f"address {text!r}")
            for text in ("", "ana", "ana@", "@x.test", "ana@test", "a b@x.test", "a@x..test")
        ),
        *(pytest.param(n.phone, text, id=f"number {text!r}") for text in ("", "abc", "+1", "+999123456789", "+49" + "1" * 30)),
        pytest.param(n.name, " -'", id="a name without letters"),
        pytest.param(n.country, "Germany", id="a country's name"),
        pytest.param(n.postal_code, " - ", id="an empty postal code"),
        pytest.param(n.digits, "abc", id="no digits"),
    ],
)
def test_what_cannot_be_used_is_told_without_the_value(normalise: Callable[[str], str], value: str) -> None:
    with pytest.raises(UnusableError, match="cannot be used") as problem:
        normalise(value)
    assert len(value) < 3 or value not in str(problem.value)


def _parsed(text: str) -> str | None:
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        return None
    usable = phonenumbers.is_possible_number(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if usable else None


@given(code=st.integers(1, 999), rest=st.text("0123456789 -.()", min_size=3, max_size=16))
def test_a_number_that_needs_no_parsing_is_what_parsing_makes_of_it(code: int, rest: str) -> None:
    text = f"+{code}{rest}"
    try:
        got = n.phone(text)
    except UnusableError:
        got = None
    assert got == _parsed(text)


@pytest.mark.parametrize("kind", [0, 1, 3, 4], ids=["fixed lines", "mobiles", "free calls", "premium calls"])
def test_every_countrys_example_is_the_same_with_and_without_parsing(kind: int) -> None:
    examples = [phonenumbers.example_number_for_type(region, kind) for region in phonenumbers.SUPPORTED_REGIONS]
    texts = [phonenumbers.format_number(one, phonenumbers.PhoneNumberFormat.INTERNATIONAL) for one in examples if one is not None]
    assert len(texts) > 100
    assert [n.phone(text) for text in texts] == [_parsed(text) for text in texts]


def test_hashes_are_those_of_the_normalised_value_in_each_vendors_form() -> None:
    assert n.email_hash(" Ana@Example.TEST ") == sha("ana@example.test")
    assert n.email_hash("A.na@gmail.com", n.google_email) == sha("ana@gmail.com")
    assert n.phone_hash("+1 415 555 0105") == sha("+14155550105")
    assert n.phone_hash("+1 415 555 0105", plus="without") == sha("14155550105")
    assert n.text_hash("Ana ", n.name) == sha("ana")


@given(st.text())
def test_what_is_hashed_already_is_not_hashed_again(text: str) -> None:
    once = sha(text)
    for again in (n.email_hash, n.phone_hash, n.text_hash):
        assert again(once) == once
        assert again(f" {once.upper()} ") == once
    assert n.is_hashed(once)
    assert not n.is_hashed(once[:-1])


@given(st.emails())
def test_every_address_that_can_be_used_has_one_hash_however_it_is_written(address: str) -> None:
    try:
        usual = n.email_hash(address)
    except UnusableError:
        return
    assert n.email_hash(f"\t{address}\n") == usual
    assert n.email_hash(n.email(address)) == usual
