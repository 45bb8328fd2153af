"""A fake SendGrid: contacts by their identifiers, custom fields by id; a request with an address that is not valid is refused whole."""

from collections.abc import Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json

MOST = 30_000
IDENTIFIERS = ("email", "phone_number_id", "external_id", "anonymous_id")


class Contacts(FakeApi):
    """What contacts and lists share: contacts by number, addresses kept in lower case."""

    login = (("authorization", "Bearer the-api-key"),)
    secrets = ("the-api-key",)

    def __init__(self) -> None:
        super().__init__()
        self.contacts: dict[str, dict[str, Any]] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"api_key": "the-api-key", "endpoint": url}

    def problem(self, sent: dict[str, Any]) -> Reply | None:
        """Why these contacts are not taken."""
        if len(sent["contacts"]) > MOST:
            return reply_json({"errors": [{"message": "too many contacts"}]}, 413)
        wrong = [one["email"] for one in sent["contacts"] if self.unwanted and one.get("email") == self.unwanted]
        if wrong:
            return reply_json({"errors": [{"field": "contacts", "message": f"email '{one.lower()}' is not valid"} for one in wrong]}, 400)
        if not all(any(one.get(name) for name in IDENTIFIERS) for one in sent["contacts"]):
            return reply_json({"errors": [{"message": "a contact needs an identifier"}]}, 400)
        return None

    def keep(self, contact: dict[str, Any]) -> str:
        """Keep a contact; gives its number."""
        kept = {**contact, "email": contact["email"].lower()} if contact.get("email") else contact
        number = next((known for name in IDENTIFIERS if (known := self.find(name, kept.get(name)))), f"c{len(self.contacts) + 1}")
        before = self.contacts.get(number, {})
        custom = {**before.get("custom_fields", {}), **kept.get("custom_fields", {})}
        self.contacts[number] = {**before, **kept, "custom_fields": custom}
        return number

    def find(self, name: str, value: Any) -> str | None:
        """The number of the contact known by that."""
        return next((number for number, one in self.contacts.items() if value and one.get(name) == value), None)


class Fake(Contacts):
    """An account with one custom field, that is not the audience's."""

    def __init__(self) -> None:
        super().__init__()
        self.fields = {"e1_T": "Shoe size"}

    @route("GET", "/v3/marketing/field_definitions")
    def definitions(self, request: Received) -> Reply:
        return reply_json({"custom_fields": [{"id": one, "name": name, "field_type": "Text"} for one, name in self.fields.items()]})

    @route("POST", "/v3/marketing/field_definitions")
    def define(self, request: Received) -> Reply:
        sent = sent_json(request)
        if sent["name"] in self.fields.values():
            return reply_json({"errors": [{"field": "name", "message": "name already exists"}]}, 400)
        made = f"e{len(self.fields) + 1}_{sent['field_type'][0]}"
        self.fields[made] = sent["name"]
        return reply_json({"id": made, **sent})

    @route("PUT", "/v3/marketing/contacts")
    def put(self, request: Received) -> Reply:
        sent = sent_json(request)
        unknown = [one for contact in sent["contacts"] for one in contact.get("custom_fields", {}) if one not in self.fields]
        if unknown:
            return reply_json({"errors": [{"message": "invalid custom field ids supplied"}]}, 400)
        problem = self.problem(sent)
        if problem is None:
            for contact in sent["contacts"]:
                self.keep(contact)
        return problem or reply_json({"job_id": "job1"}, 202)

    def held(self) -> Mapping[str, bool]:
        field = next((one for one, name in self.fields.items() if name == KEY), "")
        told = {one.get("email") or one.get("external_id"): one["custom_fields"].get(field) for one in self.contacts.values()}
        return {str(who): value == "true" for who, value in told.items() if value is not None}
