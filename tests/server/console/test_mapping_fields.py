"""Mappings edited field by field: what a mapping says is shown in inputs, and what the inputs say is the mapping, to the byte."""

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.destinations.base import Action
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.destinations.fields import Field
from engage_pipelines.registry.destinations import NewDestination, create_destination
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.server.console.forms import Problems
from engage_pipelines.server.console.mapping_fields import Row, fields_in, has_form, rows_in, rows_of
from tests.server.console.conftest import Project, S, Visitor

BUYERS = f"{S}/audiences/buyers"
AT = f"{BUYERS}/destinations/hubspot/mappings/new"
ACTION = Action(
    "try",
    "Try",
    frozenset({"identify"}),
    inputs=(
        Field("name"),
        Field("age", "integer"),
        Field("weight", "number"),
        Field("vip", "boolean"),
        Field("plan", choices=("free", "paid")),
        Field("tags", "array", items="string"),
        Field("more", "object"),
        Field("place", "object", fields=(Field("city"), Field("zip"))),
    ),
)


def every_default() -> list[Any]:
    types = destination_types().values()
    actions = [(f"{type_.key} {action.key}", action, action.fields) for type_ in types for action in type_.actions]
    presets = [(f"{type_.key} {one.name}", type_.action(one.action), one.fields) for type_ in types for one in type_.presets if one.fields]
    return [pytest.param(action, dict(fields), id=name) for name, action, fields in [*actions, *presets] if has_form(fields)]


@pytest.mark.parametrize(("action", "fields"), every_default())
def test_the_defaults_of_every_type_are_inputs_and_come_back_unchanged(action: Action, fields: dict[str, Any]):
    rows = rows_of(fields, action)
    assert not [row.name for row in rows if row.source == "json"], "no default needs the JSON editor"
    assert fields_in(rows, Problems()) == fields
    assert fields_in(rows_in(as_form(rows), action), Problems()) == fields


def as_form(rows: Any) -> dict[str, str]:
    """What a browser sends of the inputs of these rows."""
    form: dict[str, str] = {}
    for row in rows:
        form |= {f"{row.at}.from": row.source, f"{row.at}.value": row.text}
        if row.is_extra and row.at.count(".") == 1:
            form[f"{row.at}.name"] = row.name
        if row.key:
            form[f"{row.at}.key"] = row.key
        form |= as_form(row.rows)
    return form


values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**12), 10**12),
        st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs")), min_size=1, max_size=6),
        st.sampled_from([{"@path": "$.traits.a"}, {"@template": "Hi {{traits.a}}"}, {"@literal": 1}, {"@path": "$.a,b"}]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["city", "zip", "x", "y"]), inner, max_size=3)),
    max_leaves=6,
)
names = st.sampled_from([*(one.name for one in ACTION.inputs), "extra", "another one"])


@given(fields=st.dictionaries(names, values, max_size=6))
def test_whatever_a_mapping_says_is_what_its_inputs_say(fields: dict[str, Any]):
    rows = rows_of(fields, ACTION)
    assert fields_in(rows, Problems()) == fields
    assert fields_in(rows_in(as_form(rows), ACTION), Problems()) == fields


@pytest.mark.parametrize(
    ("form", "words"),
    [
        pytest.param({"f.0.from": "path", "f.0.value": ""}, "No path is named", id="no path"),
        pytest.param({"f.0.from": "path", "f.0.value": "traits.a"}, "is no path of the record", id="no path of ours"),
        pytest.param({"f.0.from": "shell", "f.0.value": "rm"}, "is nothing that name can come from", id="a source that there is not"),
        pytest.param({"f.1.from": "literal", "f.1.value": "1.5"}, "is not a whole number", id="a part of a number"),
        pytest.param({"f.2.from": "literal", "f.2.value": "1e9"}, "is not a number", id="a number in a form that nobody reads"),
        pytest.param({"f.3.from": "literal", "f.3.value": "yes"}, "is neither true nor false", id="yes"),
        pytest.param({"f.4.from": "literal", "f.4.value": "gold"}, "is none of free, paid", id="no choice"),
        pytest.param({"f.5.from": "template", "f.5.value": "x"}, "is nothing that tags can come from", id="a text for a list"),
        pytest.param({"f.6.from": "json", "f.6.value": "{'a': 1}"}, "is not JSON", id="no JSON"),
        pytest.param({"f.6.from": "json", "f.6.value": '{"a": NaN}'}, "is not JSON", id="no number"),
        pytest.param({"f.6.from": "json", "f.6.value": '{"@path": 1}'}, "cannot be used", id="a directive that is none"),
        pytest.param({"f.8.name": "", "f.8.from": "path", "f.8.value": "$.a"}, "It has no name", id="no name"),
        pytest.param({"f.8.name": "@path", "f.8.from": "path", "f.8.value": "$.a"}, "begins with @", id="a directive for a name"),
        pytest.param(
            {"f.0.from": "literal", "f.0.value": "a", "f.8.name": "name", "f.8.from": "literal", "f.8.value": "b"}, "twice", id="twice"
        ),
    ],
)
def test_what_cannot_be_is_noted_beside_the_input(form: dict[str, str], words: str):
    problems = Problems()
    rows = rows_in(form, ACTION)
    fields_in(rows, problems)
    (error,) = problems.found.values()
    assert words in error.what


def test_rows_are_added_and_taken_out():
    form = {"f.6.from": "rows", "f.6.0.key": "a", "f.6.0.from": "literal", "f.6.0.value": "1", "f.6.1.key": "b", "f.6.1.from": "path"}
    (more,) = [row for row in rows_in({**form, "add": "f.6"}, ACTION) if row.name == "more"]
    assert [row.at for row in more.rows] == ["f.6.0", "f.6.1", "f.6.2"]
    (more,) = [row for row in rows_in({**form, "drop": "f.6.1"}, ACTION) if row.name == "more"]
    assert [row.key for row in more.rows] == ["a"]
    assert rows_in({"add": "f"}, ACTION)[-1] == Row("f.8", "", "any", "path", is_extra=True)
    assert len(rows_in({**{f"f.6.{n}.from": "literal" for n in range(500)}, "f.6.from": "rows"}, ACTION)[6].rows) == 100


def with_hubspot(project: Project) -> None:
    with project.registry.change() as change:
        new = NewDestination("hubspot", "hubspot", {"access_token": "env:CRM_KEY"}, name="HubSpot")
        create_destination(change, find_space(change.c, "default"), new)
    project.connect("buyers", "hubspot", backfill=False)


def test_a_mapping_is_made_field_by_field_tried_and_edited_as_json(project: Project, admin: Visitor):
    with_hubspot(project)
    form = admin.text(AT)
    assert 'value="$.traits.email"' in form
    sent = dict(re.findall(r'name="(f\.[\d.]+(?:from|value))"[^>]*?value="([^"]*)"', form))
    sent |= dict(re.findall(r'name="(f\.[\d.]+from)".*?<option value="(\w+)" selected>', form, flags=re.DOTALL))
    head = {"name": "Contacts", "trigger": 'type = "identify"', "action": "upsert_contact", "view": "form", "fields_of": "upsert_contact"}
    asked = {**head, **sent, "f.3.from": "literal", "f.3.value": "Doe"}
    part = admin.post(f"{BUYERS}/destinations/hubspot/mapping-fields", {**asked, "f.2.from": "template"}, hx_request="true").text
    assert 'placeholder="Hello {{traits.name}}"' in part.replace("&#34;", '"')
    as_json = admin.post(f"{BUYERS}/destinations/hubspot/mapping-fields", {**asked, "to": "json"}, hx_request="true").text
    assert '<textarea id="f-fields"' in as_json
    assert "What it would send" in admin.post(AT, {**asked, "try": "yes"}).text
    assert admin.post(AT, asked).status_code == 303
    ((fields,),) = project.rows("select fields from mapping where name = 'Contacts'")
    kept = orjson.loads(fields)
    name = destination_types()["hubspot"].action("upsert_contact").inputs[3].name
    assert kept[name] == "Doe"
    assert kept["email"] == {"@path": "$.traits.email"}


def test_a_wrong_field_is_marked_and_another_action_brings_its_own_fields(project: Project, admin: Visitor):
    with_hubspot(project)
    head = {"name": "N", "trigger": 'type = "identify"', "action": "upsert_contact", "view": "form", "fields_of": "upsert_contact"}
    answer = admin.post(AT, {**head, "f.0.from": "path", "f.0.value": "<script>alert(1)</script>"})
    assert answer.status_code == 422
    assert 'id="e-f.0"' in answer.text
    assert "<script>alert" not in answer.text
    other = admin.post(AT, {**head, "action": "upsert_company", "f.0.from": "literal", "f.0.value": "x"})
    assert (other.status_code, "groupid" in other.text) == (200, True)
    assert project.rows("select count(*) from mapping where name = 'N'") == [(0,)]
    assert admin.post(AT, {**head, "action": "explode", "fields_of": "explode"}).status_code in {404, 422}
    assert admin.post(AT, {**head, "f.0.from": "literal", "f.0.value": "x" * 30_000}).status_code == 422
