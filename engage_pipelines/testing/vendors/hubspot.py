"""A fake HubSpot: contacts, companies and records with a unique property each, properties that must have been made, lists by hand."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json, sent_query

MOST = 100
_PERSON = {"email", "company", "firstname", "lastname", "phone", "address", "city", "state", "zip", "country", "website", "lifecyclestage"}
_BUILT_IN = _PERSON | {"name", "description", "domain", "numberofemployees", "industry"}
_OBJECTS = {"contact": "contacts", "company": "companies"}


class Fake(FakeApi):
    """Records by object and number; e-mail addresses are kept in lower case."""

    login = (("authorization", "Bearer the-app-token"),)
    secrets = ("the-app-token",)

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.properties: dict[str, set[str]] = {"pets": {"tag"}}
        self.associated: set[tuple[str, str]] = set()

    def settings(self, url: str) -> Mapping[str, object]:
        return {"access_token": "the-app-token", "endpoint": url}

    def table(self, place: str) -> dict[str, dict[str, Any]]:
        """The records of an object by HubSpot's ids."""
        return self.objects.setdefault(_OBJECTS.get(place, place), {})

    @route("GET", "/crm/v3/objects/contacts")
    def some(self, request: Received) -> Reply:
        return reply_json({"results": []})

    @route("POST", "/crm/v3/properties/([^/]+)")
    def make_property(self, request: Received, place: str) -> Reply:
        known = self.properties.setdefault(_OBJECTS.get(place, place), set())
        sent = sent_json(request)
        if sent["name"] in known:
            return reply_json({"message": "exists", "category": "CONFLICT"}, 409)
        if not sent.get("groupName"):
            return reply_json({"message": "a property belongs to a group"}, 400)
        known.add(sent["name"])
        return reply_json(sent, 201)

    # ------------------------------------------------------------------ one

    @route("GET", "/crm/v3/objects/([^/]+)/([^/]+)")
    def look(self, request: Received, place: str, value: str) -> Reply:
        number = self._find(place, sent_query(request).get("idProperty"), unquote(value))
        return _absent() if number is None else reply_json({"id": number, "properties": self.table(place)[number]})

    @route("PATCH", "/crm/v3/objects/([^/]+)/([^/]+)")
    def change(self, request: Received, place: str, value: str) -> Reply:
        prop = sent_query(request).get("idProperty")
        sent = sent_json(request)["properties"]
        problem = self._refused(place, sent, frozenset({prop} if prop else ()))
        number = self._find(place, prop, unquote(value))
        if problem is not None:
            return problem
        return _absent() if number is None else self._kept(place, number, sent)

    @route("POST", "/crm/v3/objects/([^/]+)")
    def make(self, request: Received, place: str) -> Reply:
        sent = sent_json(request)["properties"]
        return self._refused(place, sent) or self._kept(place, self._new(place), sent, 201)

    @route("POST", "/crm/v3/objects/([^/]+)/search")
    def search(self, request: Received, place: str) -> Reply:
        asked = [one["filters"][0] for one in sent_json(request)["filterGroups"]]
        rows = self.table(place).items()
        found = [{"id": number} for number, row in rows if any(row.get(one["propertyName"]) == one["value"] for one in asked)]
        return reply_json({"total": len(found), "results": found})

    @route("PUT", "/crm/v3/objects/companies/([0-9]+)/associations/contacts/([0-9]+)/company_to_contact")
    def associate(self, request: Received, company: str, contact: str) -> Reply:
        self.associated.add((company, contact))
        return reply_json({"id": company})

    # ------------------------------------------------------------------ many

    @route("POST", "/crm/v3/objects/([^/]+)/batch/(read|create|update|upsert)")
    def many(self, request: Received, place: str, what: str) -> Reply:
        sent = sent_json(request)
        inputs: list[dict[str, Any]] = sent["inputs"]
        names = [str(one.get("id") or one["properties"].get("email")) for one in inputs]
        if not inputs or len(inputs) > MOST or len(set(names)) < len(names):
            return reply_json({"status": "error", "message": f"1 to {MOST} different inputs", "category": "VALIDATION_ERROR"}, 400)
        if what == "read":
            return self._read(place, sent["idProperty"], names)
        for one in inputs:
            problem = self._refused(place, one["properties"], frozenset({one["idProperty"]} if "idProperty" in one else ()))
            if problem is not None:
                return problem
        numbers = [self._find(place, one.get("idProperty"), str(one["id"])) if "id" in one else None for one in inputs]
        if what == "create" and any(self._find(place, "email", str(one["properties"].get("email"))) for one in inputs):
            return reply_json({"message": "Contact already exists", "category": "CONFLICT"}, 409)
        if what == "update" and None in numbers:
            return _absent()
        for one, number in zip(inputs, numbers, strict=True):
            self._kept(place, number or self._new(place), one["properties"])
        kept = [number for number in self.table(place) if what == "create" or number in numbers or what == "upsert"]
        return reply_json({"status": "COMPLETE", "results": [{"id": number, "properties": self.table(place)[number]} for number in kept]})

    def _read(self, place: str, prop: str, names: list[str]) -> Reply:
        found = {name: self._find(place, prop, name) for name in names}
        results = [{"id": number, "properties": self.table(place)[number]} for number in found.values() if number]
        absent = [name for name, number in found.items() if number is None]
        errors = [{"status": "error", "category": "OBJECT_NOT_FOUND", "message": "none", "context": {"ids": absent}}] if absent else []
        return reply_json({"results": results, "numErrors": len(errors), "errors": errors}, 207 if absent else 200)

    def _find(self, place: str, prop: str | None, value: str) -> str | None:
        if prop is None:
            return value if value in self.table(place) else None
        return next((number for number, row in self.table(place).items() if str(row.get(prop, "")).lower() == value.lower()), None)

    def _new(self, place: str) -> str:
        return str(100 + sum(len(rows) for rows in self.objects.values()))

    def _kept(self, place: str, number: str, sent: Mapping[str, Any], status: int = 200) -> Reply:
        row = self.table(place).setdefault(number, {})
        row.update({name: value.lower() if name == "email" else value for name, value in sent.items()})
        return reply_json({"id": number, "properties": row}, status)

    def _refused(self, place: str, sent: Mapping[str, Any], used: frozenset[str] = frozenset()) -> Reply | None:
        known = _BUILT_IN | self.properties.get(_OBJECTS.get(place, place), set())
        unknown = sorted((used | set(sent)) - known)
        if unknown:
            told = [{"isValid": False, "error": "PROPERTY_DOESNT_EXIST", "name": name} for name in unknown]
            return reply_json({"status": "error", "message": f"Property values were not valid: {json.dumps(told)}"}, 400)
        if self.unwanted and self.unwanted in {str(sent.get(name, "")).lower() for name in ("email", "tag")}:
            return reply_json({"status": "error", "message": "Property values were not valid", "category": "VALIDATION_ERROR"}, 400)
        return None

    def held(self) -> Mapping[str, bool]:
        return {row["email"]: row[KEY] for row in self.table("contacts").values() if KEY in row}


def _absent() -> Reply:
    return reply_json({"status": "error", "message": "Object not found", "category": "OBJECT_NOT_FOUND"}, 404)
