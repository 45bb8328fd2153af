"""Slack: a message to a channel for each change, through an incoming webhook.

A webhook takes one message a second. It answers 200 and `ok`, or a word that says what is wrong: 403, 404 and 410 are about the webhook or
its channel, 400 about the message. Slack keeps no ids of messages, so a repeat is seen twice.
Source: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and https://docs.slack.dev/apis/web-api/rate-limits
"""

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field as Setting
from pydantic import SecretStr, field_validator

from engage_pipelines.destinations import presets
from engage_pipelines.destinations.api import ApiDestination, Batch, Conversation, failure, json_request
from engage_pipelines.destinations.base import Accepted, Action, Effect, Limits, MembershipAs, Record, Settings, Stop
from engage_pipelines.destinations.fields import Field, UnusableError, first_of, path
from engage_pipelines.destinations.http import Answer, check_url

LONGEST_TEXT = 40_000
"""Characters; Slack cuts longer messages."""

_ABOUT_THE_WEBHOOK = {403, 404, 410}


class SlackSettings(Settings):
    """The channel's webhook."""

    webhook_url: SecretStr = Setting(description="URL of the incoming webhook; who knows it can post.")

    @field_validator("webhook_url")
    @classmethod
    def _webhook_url(cls, value: SecretStr) -> SecretStr:
        if "://" in value.get_secret_value():  # else a reference to where it is kept, or nothing that can be asked
            check_url(value.get_secret_value())
        return value

    def secret_values(self) -> tuple[str, ...]:
        """The URL, and its path by itself: that alone lets one post."""
        url = self.webhook_url.get_secret_value()
        return (url, urlsplit(url).path)


class Slack(ApiDestination):
    """A channel in Slack."""

    key = "slack"
    name = "Slack"
    description = "Posts a message to a Slack channel when somebody enters or leaves; for audiences that change slowly."
    docs_url = "https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"
    membership_as = MembershipAs.USER_PROPERTY
    membership_alone = True  # its messages say who entered and who left
    effect = Effect.AT_LEAST_ONCE
    settings_model = SlackSettings
    user_address_kinds = ("user_id", "email", "anonymous_id")
    actions = (
        Action(
            "post_message",
            "Post a message",
            frozenset({"identify", "track", "group"}),
            inputs=(
                Field("text", description="The message; without one it says who entered or left which audience."),
                Field("channel", description="Channel, for webhooks of old that may choose it."),
                Field("username", description="Name that the message appears under."),
                Field("icon_url", description="Picture of the sender.", format="uri"),
                Field("audience", description="The audience's key.", default=path("$.context.personas.computation_key")),
                Field("user_id", description="Who it is about.", default=first_of("$.groupId", "$.userId")),
                Field(
                    "email",
                    description="E-mail address, when there is no id.",
                    default=first_of("$.traits.email", "$.context.traits.email"),
                ),
                Field("anonymous_id", description="Who it is about, when nothing else is known.", default=path("$.anonymousId")),
            ),
        ),
    )
    presets = (presets.entered_and_exited("post_message"), presets.membership("post_message"), presets.accounts("post_message"))
    limits = Limits(max_batch_records=1, max_batch_bytes=200_000, requests_per_s=1)
    segment_slugs = ("slack", "actions-slack")
    segment_actions = (("postToChannel", "post_message"),)

    def prepare(self, payload: dict[str, Any], record: Record, *, action: Action, settings: Any) -> dict[str, Any]:
        message = {name: payload[name] for name in ("channel", "text", "username", "icon_url") if payload.get(name)}
        if "text" not in message:
            who = next((payload[name] for name in ("user_id", "email", "anonymous_id") if payload.get(name)), "Somebody")
            message["text"] = f"{_plain(who)} {'entered' if record.entered else 'left'} {_plain(payload.get('audience', 'the audience'))}"
        if len(message["text"]) > LONGEST_TEXT:
            raise UnusableError(f"the message has {len(message['text'])} characters, Slack takes {LONGEST_TEXT}")
        return message

    def talk(self, batch: Batch) -> Conversation:
        answer = yield json_request("POST", batch.settings.webhook_url.get_secret_value(), batch.payloads[0])
        return _about_the_webhook(answer) or failure(answer, 1) or Accepted()

    def try_out(self, settings: Any) -> Conversation:
        answer = yield json_request("POST", settings.webhook_url.get_secret_value(), {"text": ""})
        # whoever is let in is told that the message is empty
        return _about_the_webhook(answer) or (Accepted() if answer.status == 400 else failure(answer, 0) or Accepted())

    def account(self, settings: Any) -> str:
        return urlsplit(settings.webhook_url.get_secret_value()).netloc


def _plain(text: str) -> str:
    """Text in which nothing is a mention or a link. Source: https://docs.slack.dev/messaging/formatting-message-text"""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _about_the_webhook(answer: Answer) -> Stop | None:
    if answer.status not in _ABOUT_THE_WEBHOOK:
        return None
    word = answer.body[:80].decode("ascii", "replace").strip()
    return Stop(f"Slack answered {answer.status}: {word or 'the webhook does not work'}.", "Set the URL of a webhook that works.")
