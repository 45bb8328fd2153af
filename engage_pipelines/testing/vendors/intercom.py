"""A fake Intercom: contacts and companies by number, one for each external id, custom attributes that must have been made."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json, sent_query


class Fake(FakeApi):
    """What there is, by Intercom's ids; with `search_lags` nobody is found."""

    login = (("authorization", "Bearer the-app-token"),)
    secrets = ("the-app-token",)

    def __init__(self) -> None:
        super().__init__()
        self.contacts: dict[str, dict[str, Any]] = {}
        self.companies: dict[str, dict[str, Any]] = {}
        self.attributes: set[tuple[str, str]] = set()
        self.belong: set[tuple[str, str]] = set()
        self.search_lags = False

    def settings(self, url: str) -> Mapping[str, object]:
        return {"access_token": "the-app-token", "endpoint": url}

    @route("GET", "/me")
    def me(self, request: Received) -> Reply:
        return reply_json({"type": "admin"})

    @route("POST", "/data_attributes")
    def make_attribute(self, request: Received) -> Reply:
        sent = sent_json(request)
        name = (sent["model"], sent["name"])
        if name in self.attributes or sent["data_type"] not in {"boolean", "float", "integer", "string", "date", "datetime"}:
            return _errors("parameter_invalid", "You already have it", 400)
        self.attributes.add(name)
        return reply_json(sent)

    @route("POST", "/contacts/search")
    def search(self, request: Received) -> Reply:
        asked = sent_json(request)["query"]
        rows = {} if self.search_lags else self.contacts
        found = [{"id": number, "role": row["role"]} for number, row in rows.items() if row.get(asked["field"]) == asked["value"]]
        return reply_json({"data": found, "total_count": len(found)})

    @route("POST", "/contacts")
    def make(self, request: Received) -> Reply:
        sent = sent_json(request)
        there = next((number for number, row in self.contacts.items() if _same(row, sent)), None)
        if there is not None:
            return _errors("conflict", f"A contact matching those details already exists with id={there}", 409)
        return self._keep("contact", self.contacts, f"c{len(self.contacts) + 1}", sent)

    @route("PUT", "/contacts/([^/]+)")
    def change(self, request: Received, number: str) -> Reply:
        if number not in self.contacts:
            return _errors("not_found", "User Not Found", 404)
        return self._keep("contact", self.contacts, number, sent_json(request))

    @route("POST", "/contacts/([^/]+)/companies")
    def attach(self, request: Received, number: str) -> Reply:
        self.belong.add((number, sent_json(request)["id"]))
        return reply_json({"id": sent_json(request)["id"]})

    @route("GET", "/companies")
    def company(self, request: Received) -> Reply:
        found = self._company(sent_query(request)["company_id"])
        return reply_json({"id": found}) if found else _errors("company_not_found", "Company Not Found", 404)

    @route("POST", "/companies")
    def keep_company(self, request: Received) -> Reply:
        sent = sent_json(request)
        if not isinstance(sent.get("remote_created_at", 0), int):
            return _errors("parameter_invalid", "remote_created_at must be a number", 400)
        number = self._company(sent["company_id"]) or f"f{len(self.companies) + 1}"
        return self._keep("company", self.companies, number, sent)

    def _company(self, company_id: str) -> str | None:
        return next((number for number, row in self.companies.items() if row["company_id"] == company_id), None)

    def _keep(self, model: str, rows: dict[str, dict[str, Any]], number: str, sent: dict[str, Any]) -> Reply:
        own = sent.pop("custom_attributes", {})
        unknown = next((name for name in own if (model, name) not in self.attributes), None)
        if unknown is not None:
            return _errors("parameter_invalid", f"Custom attribute '{unknown}' does not exist", 400)
        if self.unwanted and self.unwanted in {sent.get("external_id"), sent.get("company_id")}:
            return _errors("parameter_invalid", "it is not valid", 400)
        row = rows.setdefault(number, {"custom_attributes": {}})
        row["custom_attributes"].update(own)
        row.update(sent)
        return reply_json({"id": number})

    def held(self) -> Mapping[str, bool]:
        rows = self.contacts.values()
        return {row["external_id"]: row["custom_attributes"][KEY] for row in rows if KEY in row["custom_attributes"]}


def _same(row: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    name = "external_id" if "external_id" in sent else "email"
    return row.get(name) == sent.get(name)


def _errors(code: str, message: str, status: int) -> Reply:
    return reply_json({"type": "error.list", "errors": [{"code": code, "message": message}]}, status)
