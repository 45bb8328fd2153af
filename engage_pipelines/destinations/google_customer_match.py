"""Google Ads Customer Match: an audience as a customer list, for ads in Search, YouTube, Gmail, Shopping and Display.

A batch becomes a job: made, filled with operations, run; Google works it off within hours. A job holds entries or exits, never both, and
has one consent for all of it. Up to 100,000 identifiers fit a request, 10,000 are advised, and a person may have 20. A list takes an ad
when it holds 100 active people, and people fall off it after the days that it was made with, 540 at most: a resync enters them anew.
What is refused among the operations is named by its index. A job that was filled twice and run once does nothing twice.
Source: https://developers.google.com/google-ads/api/docs/remarketing/audience-segments/customer-match/get-started (and .../troubleshoot),
https://support.google.com/google-ads/answer/7659867 (November 2026)
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast
from urllib.parse import quote

from pydantic import Field as Setting
from pydantic import SecretStr

from engage_pipelines.destinations import normalising, presets
from engage_pipelines.destinations.advertising import anywhere, said_of_list
from engage_pipelines.destinations.api import ApiDestination, ApiSettings, Batch, Conversation, Talk, failure, json_request, object_of
from engage_pipelines.destinations.authentication import OAuth2
from engage_pipelines.destinations.base import (
    Accepted,
    Action,
    Backoff,
    Bisect,
    Effect,
    Limits,
    ListId,
    MembershipAs,
    Record,
    Settings,
    Stop,
    Target,
    Verdict,
)
from engage_pipelines.destinations.fields import Field, UnusableError, path
from engage_pipelines.destinations.http import Answer, Request

API = "https://googleads.googleapis.com"
CONSENTS = ("GRANTED", "DENIED", "UNSPECIFIED")

_AD_USER_DATA = "ad_user_data_consent_state"
_AD_PERSONALIZATION = "ad_personalization_consent_state"
_AGAIN = frozenset({"CONCURRENT_MODIFICATION", "RESOURCE_TEMPORARILY_EXHAUSTED", "INTERNAL_ERROR", "TRANSIENT_ERROR"})
_CUSTOMER = r"^\d{3}-?\d{3}-?\d{4}$"

Consent = Literal["GRANTED", "DENIED", "UNSPECIFIED"]


class GoogleCustomerMatchSettings(ApiSettings):
    """The Google Ads account."""

    client_id: str = Setting(min_length=1, description="Client id of the OAuth application.")
    client_secret: SecretStr = Setting(min_length=1, description="Client secret of the OAuth application.")
    refresh_token: SecretStr = Setting(min_length=1, description="Refresh token with the scope adwords.")
    developer_token: SecretStr = Setting(min_length=1, description="Developer token of the manager account.")
    customer_id: str = Setting(pattern=_CUSTOMER, description="Id of the account whose lists are kept, such as 123-456-7890.")
    login_customer_id: str | None = Setting(None, pattern=_CUSTOMER, description="Id of the manager account, when it acts for the other.")
    ad_user_data_consent: Consent = Setting("UNSPECIFIED", description="Consent to send the data to Google, where a mapping names none.")
    ad_personalization_consent: Consent = Setting("UNSPECIFIED", description="Consent to personalised ads, where a mapping names none.")
    api_version: str = Setting("v21", pattern=r"^v\d+$", description="Version of the Google Ads API.")

    @property
    def customer(self) -> str:
        """The account's id in digits alone."""
        return self.customer_id.replace("-", "")


class GoogleListSettings(Settings):
    """What may be said of one customer list."""

    external_id_type: Literal["CONTACT_INFO", "CRM_ID", "MOBILE_ADVERTISING_ID"] = Setting(
        "CONTACT_INFO", description="By what people are matched; a list knows one kind alone."
    )
    app_id: str | None = Setting(None, description="The app that the mobile advertising ids come from; needed for these.")
    membership_days: int = Setting(540, ge=1, le=540, description="Days after which people fall off the list.")


class GoogleCustomerMatch(ApiDestination):
    """A Customer Match list for each connection."""

    key = "google_customer_match"
    name = "Google Customer Match"
    description = "Keeps an audience as a Customer Match list in Google Ads."
    docs_url = "https://developers.google.com/google-ads/api/docs/remarketing/audience-segments/customer-match/get-started"
    membership_as = MembershipAs.USER_LIST
    effect = Effect.IDEMPOTENT
    settings_model = GoogleCustomerMatchSettings
    list_settings_model = GoogleListSettings
    authentication = OAuth2("https://oauth2.googleapis.com/token")
    user_address_kinds = ("email",)
    creates_lists = True
    list_ids_are_unique = True
    minimum_list_size = 100
    actions = (
        Action(
            "user_list",
            "Keep the customer list",
            frozenset({"identify", "track"}),
            inputs=(
                Field("first_name", description="First name.", default=anywhere("firstName")),
                Field("last_name", description="Last name.", default=anywhere("lastName")),
                Field("email", description="E-mail address.", default=anywhere("email")),
                Field("phone", description="Phone number, with its country.", default=anywhere("phone")),
                Field("phone_country_code", description="Calling code for phone numbers without one, such as +49."),
                Field("country_code", description="Country of the address, ISO 3166-1 alpha-2."),
                Field("postal_code", description="Postal code of the address."),
                Field("crm_id", description="Your own id of the person, for lists by CRM id.", default=path("$.userId")),
                Field(
                    "mobile_advertising_id",
                    description="Advertising id of the device, for lists of these.",
                    default=path("$.context.device.advertisingId"),
                ),
                Field(_AD_USER_DATA, description="Consent to send the data to Google.", choices=CONSENTS),
                Field(_AD_PERSONALIZATION, description="Consent to personalised ads.", choices=CONSENTS),
                Field(
                    "external_audience_id",
                    description="The customer list, where it is not the connection's own.",
                    default=path("$.context.personas.external_audience_id"),
                ),
            ),
            batch_keys=("external_audience_id", _AD_USER_DATA, _AD_PERSONALIZATION),
            sync_modes=("mirror", "add", "delete"),
        ),
    )
    presets = (presets.membership("user_list"),)
    limits = Limits(max_batch_records=10_000, max_batch_bytes=8_000_000)
    segment_slugs = ("google-enhanced-conversions", "actions-google-enhanced-conversions")
    segment_actions = (("userList", "user_list"),)

    def settings_from_segment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        ours = {"customerId": "customer_id", "loginCustomerId": "login_customer_id"}
        return super().settings_from_segment({ours.get(name, name): value for name, value in values.items()})

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        usual = {_AD_USER_DATA: settings.ad_user_data_consent, _AD_PERSONALIZATION: settings.ad_personalization_consent}
        said = {**usual, **payload}
        if record.entered and "DENIED" in {said[name] for name in usual}:
            raise UnusableError("the consent is denied, so the person may not be put on a customer list")
        return said

    def talk(self, batch: Batch) -> Conversation:
        list_id = batch.list_id("external_audience_id")
        if list_id is None:
            return Stop("the connection has no customer list yet.", "Sync the connection: its list is made first.")
        kind = _said(batch.target).external_id_type
        known, refused = _identified(batch, _BY[kind])
        for entered in (True, False):
            positions = [at for at in batch.positions(entered=entered) if at in known]
            for part in _of_one_consent(batch, positions):
                verdict = yield from self._job(batch, list_id, {at: known[at] for at in part}, entered=entered)
                if not isinstance(verdict, Accepted):
                    return verdict
                refused |= verdict.rejected
        return Accepted(refused)

    def _job(self, batch: Batch, list_id: str, people: Mapping[int, list[dict[str, Any]]], *, entered: bool) -> Conversation:
        """Make, fill and run a job; the verdict counts positions of the batch."""
        settings: GoogleCustomerMatchSettings = batch.settings
        consents = batch.payloads[next(iter(people))] if entered else None
        made = yield _post(settings, f"customers/{settings.customer}/offlineUserDataJobs:create", _new_job(settings, list_id, consents))
        job = object_of(made).get("resourceName")
        if not job:
            return _failed(made, 0) or Backoff("Google made no job, and does not say why")
        does = "create" if entered else "remove"
        body = {"operations": [{does: {"userIdentifiers": who}} for who in people.values()], "enablePartialFailure": True}
        answer = yield _post(settings, f"{job}:addOperations", body)
        verdict = _failed(answer, len(people)) or _partly_failed(answer, len(people))
        if not isinstance(verdict, Accepted):
            return verdict
        refused = {list(people)[at]: reason for at, reason in verdict.rejected.items()}
        if len(refused) < len(people):
            answer = yield _post(settings, f"{job}:run", None)
            failed = _failed(answer, 0)
            if failed is not None:
                return failed
        return Accepted(refused)

    def try_out(self, settings: Any) -> Conversation:
        answer = yield _search(settings, "SELECT customer.id FROM customer LIMIT 1")
        return _failed(answer, 0) or Accepted()

    def look_for_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict | None]:
        if target.external_id and not target.external_id.isdecimal():
            return None
        name = target.list_name().replace("\\", "\\\\").replace("'", "\\'")
        which = (
            f"user_list.id = {target.external_id}" if target.external_id else f"user_list.name = '{name}' AND user_list.type = 'CRM_BASED'"
        )
        answer = yield _search(settings, f"SELECT user_list.id, user_list.name FROM user_list WHERE {which}")
        failed = _failed(answer, 0)
        if failed is not None:
            return failed
        found = object_of(answer).get("results") or []
        return ListId(str(found[0]["userList"]["id"])) if found else None

    def make_list(self, settings: Any, target: Target) -> Talk[ListId | Verdict]:
        said = _said(target)
        by = {"uploadKeyType": said.external_id_type, **({"appId": said.app_id} if said.app_id else {})}
        if said.external_id_type == "MOBILE_ADVERTISING_ID" and not said.app_id:
            return Stop("a list of mobile advertising ids needs the app that they come from.", "Say app_id in the settings of the list.")
        new = {"crmBasedUserList": by, "membershipLifeSpan": str(said.membership_days), "name": target.list_name()}
        answer = yield _post(settings, f"customers/{settings.customer}/userLists:mutate", {"operations": [{"create": new}]})
        results = object_of(answer).get("results")
        if not results:
            return _failed(answer, 0) or Backoff("Google made no list, and does not say why")
        return ListId(str(results[0]["resourceName"]).rsplit("/", 1)[-1])


def _said(target: Target) -> GoogleListSettings:
    return said_of_list(GoogleListSettings, target, {})


# ---------------------------------------------------------------------- requests


def _post(settings: GoogleCustomerMatchSettings, rest: str, body: Any) -> Request:
    headers = {"developer-token": settings.developer_token.get_secret_value()}
    if settings.login_customer_id:
        headers["login-customer-id"] = settings.login_customer_id.replace("-", "")
    return json_request("POST", settings.at(f"{API}/{settings.api_version}/{quote(rest, safe='/:')}"), body, headers)


def _search(settings: GoogleCustomerMatchSettings, query: str) -> Request:
    return _post(settings, f"customers/{settings.customer}/googleAds:search", {"query": query})


def _new_job(settings: GoogleCustomerMatchSettings, list_id: str, consents: Mapping[str, Any] | None) -> dict[str, Any]:
    """Google wants to know of a consent when people are added, and of none when they go."""
    metadata: dict[str, Any] = {"userList": f"customers/{settings.customer}/userLists/{list_id}"}
    if consents is not None:
        metadata["consent"] = {"adUserData": consents[_AD_USER_DATA], "adPersonalization": consents[_AD_PERSONALIZATION]}
    return {"job": {"type": "CUSTOMER_MATCH_USER_LIST", "customerMatchUserListMetadata": metadata}}


def _of_one_consent(batch: Batch, positions: list[int]) -> list[list[int]]:
    """The positions, those of one consent together; in the product a batch has one alone."""
    parts: dict[tuple[str, str], list[int]] = {}
    for at in positions:
        person = batch.payloads[at]
        consent = (person[_AD_USER_DATA], person[_AD_PERSONALIZATION]) if batch.items[at].entered else ("", "")
        parts.setdefault(consent, []).append(at)
    return list(parts.values())


# ---------------------------------------------------------------------- what Google matches by


def _identified(
    batch: Batch, by: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
) -> tuple[dict[int, list[dict[str, Any]]], dict[int, str]]:
    """By position what each person is matched by, and why others cannot be."""
    known: dict[int, list[dict[str, Any]]] = {}
    refused: dict[int, str] = {}
    for at, person in enumerate(batch.payloads):
        try:
            known[at] = by(person)
        except UnusableError as problem:
            refused[at] = str(problem)
    return known, refused


def _by_contact(person: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if person.get("email"):
        found.append({"hashedEmail": normalising.email_hash(person["email"], normalising.google_email)})
    if person.get("phone"):
        found.append({"hashedPhoneNumber": normalising.phone_hash(person["phone"], region=_region(person))})
    address = [person.get(name) for name in ("first_name", "last_name", "country_code", "postal_code")]
    if all(address):
        first, last, country, postal_code = cast(list[str], address)
        hashes = {"hashedFirstName": normalising.text_hash(first, _lower), "hashedLastName": normalising.text_hash(last, _lower)}
        found.append({"addressInfo": {**hashes, "countryCode": normalising.country(country).upper(), "postalCode": postal_code}})
    if not found:
        raise UnusableError("the list takes people by e-mail address, phone number or whole postal address, and there is none")
    return found


def _by_crm_id(person: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"thirdPartyUserId": _given(person, "crm_id")}]


def _by_device(person: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"mobileId": _given(person, "mobile_advertising_id")}]


_BY = {"CONTACT_INFO": _by_contact, "CRM_ID": _by_crm_id, "MOBILE_ADVERTISING_ID": _by_device}


def _given(person: Mapping[str, Any], name: str) -> str:
    value = str(person.get(name) or "").strip()
    if not value:
        raise UnusableError(f"the list takes people by {name}, and there is none")
    return value


def _lower(value: str) -> str:
    return value.strip().lower()


def _region(person: Mapping[str, Any]) -> str | None:
    """The country that a phone number without one is of."""
    code = "".join(filter(str.isdecimal, person.get("phone_country_code") or ""))
    if not code:
        return person.get("country_code")
    import phonenumbers  # noqa: PLC0415 (heavy, and most numbers have their country)

    return phonenumbers.region_code_for_country_code(int(code))


# ---------------------------------------------------------------------- what Google answers


def _failed(answer: Answer, count: int) -> Verdict | None:
    error = object_of(answer).get("error")
    if isinstance(error, dict) and answer.status not in {401, 429}:
        reasons = {str(word) for one in _errors(cast(dict[str, Any], error)) for word in one.get("errorCode", {}).values()}
        if reasons & _AGAIN:
            return Backoff(f"Google asks to try again: {', '.join(sorted(reasons))}")
    return failure(answer, count)


def _errors(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for detail in error.get("details") or [] for one in detail.get("errors") or []]


def _partly_failed(answer: Answer, count: int) -> Accepted | Bisect:
    """Operations that were refused, while the others are in the job."""
    partial = object_of(answer).get("partialFailureError")
    if not partial:
        return Accepted()
    refused: dict[int, str] = {}
    for one in _errors(partial):
        places = one.get("location", {}).get("fieldPathElements") or []
        index = next((place.get("index", 0) for place in places if place.get("fieldName") == "operations"), None)
        if isinstance(index, int) and 0 <= index < count:
            refused.setdefault(index, str(one.get("message") or "Google gives no reason"))
    if refused:
        return Accepted(refused)
    reason = str(partial.get("message") or "Google gives no reason")
    return Accepted({0: reason}) if count == 1 else Bisect(reason)
