"""Rules: conditions on a request, and where it goes when they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, time
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from attrs import field, frozen
from attrs.validators import deep_iterable, ge, in_, matches_re, min_len, optional

from coe_core.caller import estimate_prompt_tokens
from coe_core.message import Message
from coe_core.naming import naming
from coe_core.turn import Turn
from coe_routing.language import Language, language

Day: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Modality: TypeAlias = Literal["text", "image", "audio", "file"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOURS = r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d"
PARTS: Mapping[str, Modality] = {
    "text": "text",
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "file": "file",
    "input_file": "file",
}
"""The `type` of a message's part to what it is."""


def _zone(_: object, __: object, name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        msg = f"there is no time zone {name!r}; write Asia/Seoul, say"
        raise ValueError(msg) from error


@frozen(kw_only=True)
class RuleTable:
    """`[[plugins.routing.rules]]`: a request goes there when every condition that is written holds.
    Of several values of one condition, one must hold; texts may have `*` and `?`.
    """

    name: str = field(validator=min_len(1))
    """Stands in the reason of the decision."""
    route: str | None = None
    """The route that is taken: one of `[plugins.routing.routes]`."""
    model: str | None = naming("models")
    """Instead of a route: the alias that answers."""
    agent: str | None = naming("agents")
    """Instead of a route: the agent that answers."""
    groups: tuple[str, ...] = ()
    """Of these groups."""
    users: tuple[str, ...] = ()
    """Of these users: who holds the key."""
    sessions: tuple[str, ...] = ()
    """In these sessions, by id."""
    tags: tuple[str, ...] = ()
    """With one of these tags: the request's `metadata.tags`, separated by commas."""
    metadata: Mapping[str, str] = field(factory=dict)
    """With these values in the request's `metadata`."""
    headers: Mapping[str, str] = field(factory=dict)
    """With these values of HTTP headers; their names in any case."""
    text: tuple[str, ...] = ()
    """Whose last message has one of these words or phrases, in any case."""
    languages: tuple[Language, ...] = ()
    """In one of these languages, told by the script: `en` is anything in Latin letters."""
    modalities: tuple[Modality, ...] = ()
    """With a part of one of these kinds in a message."""
    with_tools: bool | None = None
    """Whether the client offers tools of its own."""
    min_tokens: int | None = field(default=None, validator=optional(ge(0)))
    """Whose prompt is estimated at this many tokens or more."""
    max_tokens: int | None = field(default=None, validator=optional(ge(0)))
    """Whose prompt is estimated at this many tokens or fewer."""
    hours: str | None = field(default=None, validator=optional(matches_re(HOURS)))
    """Between these times of day, `22:00-06:00` say; the end is not included."""
    days: tuple[Day, ...] = field(default=(), validator=deep_iterable(in_(DAYS)))
    """On these days of the week."""
    zone: str = field(default="UTC", validator=_zone)
    """The time zone of `hours` and `days`."""

    def __attrs_post_init__(self) -> None:
        """Refuse a rule to nowhere, to two places, or without a condition."""
        if sum(target is not None for target in (self.route, self.model, self.agent)) != 1:
            msg = f"the rule {self.name!r} has exactly one of route, model and agent"
            raise ValueError(msg)
        if not self.conditions():
            msg = f"the rule {self.name!r} has no condition; [routing] default is for all the rest"
            raise ValueError(msg)

    def conditions(self) -> list[str]:
        """Name the conditions that are written."""
        return [name for name in CONDITIONS if getattr(self, name) not in ((), None, {})]

    def holds(self, turn: Turn) -> bool:
        """Whether every condition holds."""
        return all(CONDITIONS[name](self, turn) for name in self.conditions())


Condition: TypeAlias = Callable[[RuleTable, Turn], bool]


def _like(value: object, patterns: tuple[str, ...]) -> bool:
    return value is not None and any(fnmatchcase(str(value), pattern) for pattern in patterns)


def _tags(turn: Turn) -> list[str]:
    written = (turn.request.metadata or {}).get("tags") or ""
    parts = written if isinstance(written, list) else str(written).split(",")
    return [str(part).strip() for part in parts]


def _has_metadata(rule: RuleTable, turn: Turn) -> bool:
    given = turn.request.metadata or {}
    return all(_like(given.get(key), (pattern,)) for key, pattern in rule.metadata.items())


def _has_headers(rule: RuleTable, turn: Turn) -> bool:
    return all(_like(turn.headers.get(k.lower()), (v,)) for k, v in rule.headers.items())


def _has_text(rule: RuleTable, turn: Turn) -> bool:
    text = turn.request.text.casefold()
    return any(phrase.casefold() in text for phrase in rule.text)


def modalities(message: Message) -> set[Modality]:
    """Tell what a message is made of."""
    if not isinstance(message.content, tuple):
        return {"text"}
    return {PARTS[part.type] for part in message.content if part.type in PARTS}


def _has_modality(rule: RuleTable, turn: Turn) -> bool:
    found = {kind for message in turn.request.messages for kind in modalities(message)}
    return not found.isdisjoint(rule.modalities)


def _is_long(rule: RuleTable, turn: Turn) -> bool:
    return estimate_prompt_tokens(turn.request) >= (rule.min_tokens or 0)


def _is_short(rule: RuleTable, turn: Turn) -> bool:
    return rule.max_tokens is None or estimate_prompt_tokens(turn.request) <= rule.max_tokens


def _local(rule: RuleTable, turn: Turn) -> datetime:
    return turn.started_at.astimezone(ZoneInfo(rule.zone))


def _is_in_hours(rule: RuleTable, turn: Turn) -> bool:
    start, end = (time.fromisoformat(clock) for clock in str(rule.hours).split("-"))
    now = _local(rule, turn).time()
    # Hours that end before they begin go over midnight; equal ones are the whole day.
    return start <= now < end if start < end else now >= start or now < end


CONDITIONS: Mapping[str, Condition] = {
    "groups": lambda rule, turn: _like(turn.group, rule.groups),
    "users": lambda rule, turn: _like(turn.principal.user, rule.users),
    "sessions": lambda rule, turn: _like(turn.session.id, rule.sessions),
    "tags": lambda rule, turn: any(_like(tag, rule.tags) for tag in _tags(turn)),
    "metadata": _has_metadata,
    "headers": _has_headers,
    "text": _has_text,
    "languages": lambda rule, turn: language(turn.request.text) in rule.languages,
    "modalities": _has_modality,
    "with_tools": lambda rule, turn: bool(turn.request.tools) is rule.with_tools,
    "min_tokens": _is_long,
    "max_tokens": _is_short,
    "hours": _is_in_hours,
    "days": lambda rule, turn: DAYS[_local(rule, turn).weekday()] in rule.days,
}
"""What each condition asks; those that cost most are asked last."""
