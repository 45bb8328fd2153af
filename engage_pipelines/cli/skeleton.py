"""The skeleton of a destination type: the type, a fake vendor and the tests, which pass as they are written."""

from pathlib import Path
from string import Template

from engage_pipelines.domain.errors import ConflictError, StateError, UsageError

_TYPE = '''"""$title: what it takes, in which pieces, and what its answers mean. Source: https://$key.example/docs (say when you looked)"""

from typing import Any

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, ApiSettings, Batch, Conversation, failure, json_request, object_of
from engage_pipelines.destinations.authentication import Bearer
from engage_pipelines.destinations.base import Accepted, Action, Effect, Limits, MembershipAs, Record
from engage_pipelines.destinations.fields import Field, UnusableError, path

API = "https://api.$key.example"


class ${class_name}Settings(ApiSettings):
    """The account."""

    token: SecretStr = Setting(min_length=1, description="API token.")


class $class_name(ApiDestination):
    """Contacts in $title."""

    key = "$key"
    name = "$title"
    description = "Sets membership and traits as attributes of contacts in $title."
    docs_url = "https://$key.example/docs"
    membership_as = MembershipAs.USER_PROPERTY
    effect = Effect.IDEMPOTENT
    settings_model = ${class_name}Settings
    authentication = Bearer("token")
    actions = (
        Action(
            "upsert",
            "Create or update the contact",
            frozenset({"identify"}),
            inputs=(
                Field("id", description="The contact's id.", default=path("$$.userId"), required=True),
                Field("attributes", "object", "What to know of the contact.", default=path("$$.traits")),
            ),
        ),
    )
    presets = (presets.membership("upsert"),)
    limits = Limits(max_batch_records=100, max_batch_bytes=900_000, requests_per_s=10)

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        if len(payload["id"]) > 500:
            raise UnusableError("$title takes ids of 500 characters at most")
        return payload

    def talk(self, batch: Batch) -> Conversation:
        answer = yield json_request("POST", batch.settings.at(f"{API}/contacts"), {"contacts": batch.payloads})
        refused = {problem["index"]: problem["reason"] for problem in object_of(answer).get("rejected", [])}
        return failure(answer, len(batch.items)) or Accepted(refused)

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("GET", settings.at(f"{API}/me"))
        return failure(answer, 0) or Accepted()
'''

_FAKE = '''"""A fake $title, as its documents say it behaves."""

from collections.abc import Mapping

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json


class Fake(FakeApi):
    """Contacts by id."""

    login = (("authorization", "Bearer the-$key-token"),)
    secrets = ("the-$key-token",)

    def __init__(self) -> None:
        super().__init__()
        self.contacts: dict[str, bool] = {}

    def settings(self, url: str) -> Mapping[str, object]:
        return {"endpoint": url, "token": "the-$key-token"}

    @route("GET", "/me")
    def me(self, request: Received) -> Reply:
        return Reply()

    @route("POST", "/contacts")
    def take(self, request: Received) -> Reply:
        contacts = sent_json(request)["contacts"]
        if len(contacts) > 100:
            return Reply(413)
        taken = {contact["id"]: contact["attributes"][KEY] for contact in contacts if contact["id"] != self.unwanted}
        self.contacts |= taken
        refused = [index for index, contact in enumerate(contacts) if contact["id"] not in taken]
        problems = [{"index": index, "reason": "this contact is blocked"} for index in refused]
        return reply_json({"rejected": problems}, 207 if refused else 200)

    def held(self) -> Mapping[str, bool]:
        return dict(self.contacts)
'''

_TEST = """from fake_$key import Fake
from $key import $class_name

from engage_pipelines.testing.vendor import FakeApi
from engage_pipelines.testing.vendor_conformance import VendorConformance


class Test$class_name(VendorConformance):
    destination = $class_name()

    def fake(self) -> FakeApi:
        return Fake()
"""

_FILES = {"{key}.py": _TYPE, "fake_{key}.py": _FAKE, "test_{key}.py": _TEST}


def write_skeleton(key: str, folder: Path) -> list[Path]:
    """Write the files of a new type into a folder; gives their paths. Nothing is written when one of them is there already.

    Raises UsageError for a key that is none, ConflictError for a file that is there, StateError when the folder cannot be written to.
    """
    if not key.isascii() or not key.isidentifier() or key != key.lower() or key.startswith("_") or len(key) > 60:
        raise UsageError(f"{key[:60]!r} is no key for a destination type.", "Use small letters, digits and _, such as postbox.")
    words = [word for word in key.split("_") if word]
    named = {"key": key, "title": " ".join(words).capitalize(), "class_name": "".join(word.capitalize() for word in words)}
    texts = {folder / name.format(key=key): Template(text).substitute(named) for name, text in _FILES.items()}
    for path in texts:
        if path.exists():
            raise ConflictError(f"{path} is there already.", "Choose another name or folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text)
    except OSError as error:
        raise StateError(f"the files cannot be written to {folder}: {error.strerror}.", "Give another folder with --folder.") from None
    return list(texts)
