"""One cell of the matrix: an answer, a fault at a place in it, and how the next target goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

from attrs import evolve, field, frozen

from coe_core.testing.upstream import DONE, Received, Script

Style: TypeAlias = Literal["exact", "spaced", "sentence", "all", "broken"]
"""How a model goes on: with the next word, with the blank before it, with the sentence in which it
was cut, from the beginning; or it breaks too, and a third goes on.
"""
STYLES: tuple[Style, ...] = ("exact", "spaced", "sentence", "all", "broken")

CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": ""}}
ARGUMENTS = '{"place": "the old mill", "near": true}'


@frozen(kw_only=True)
class Answer:
    """What a model says when nothing goes wrong."""

    name: str
    text: str
    calls: bool = False
    request: dict[str, Any] = field(factory=dict)
    letters: int = 4
    """The most of a word that comes in one frame."""
    before: Answer | None = None
    """What it says in the round before: it calls a tool of ours."""
    after: Answer | None = None
    """What it says in the round after that."""

    def frames(self, text: str) -> tuple[bytes, ...]:
        """Stream the answer, or the rest of it."""
        deltas: list[Any] = [{"role": "assistant", "content": ""}]
        pieces = re.findall(rf"\s*\S{{1,{self.letters}}}", text) + re.findall(r"\s+\Z", text)
        deltas += [{"content": piece} for piece in pieces]
        if self.calls:
            arguments = re.findall(".{1,12}", ARGUMENTS)
            deltas += [{"tool_calls": [{"index": 0, **CALL}]}]
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
                for piece in arguments
            ]
        usage = _event({"choices": [], "usage": self._usage(text)})
        return (*map(_delta, deltas), _delta({}, self.finish_reason), usage, DONE)

    def body(self, text: str) -> bytes:
        """Answer at once."""
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self.calls:
            message["tool_calls"] = [{**CALL, "function": {"name": "find", "arguments": ARGUMENTS}}]
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return json.dumps({"choices": [choice], "usage": self._usage(text)}).encode()

    def script(self, text: str, *, stream: bool) -> Script:
        """Say it without a fault."""
        if stream:
            return Script(frames=self.frames(text), pause_s=0.001)
        return Script(body=self.body(text))

    @property
    def finish_reason(self) -> str:
        return "tool_calls" if self.calls else "stop"

    @property
    def places(self) -> range:
        """Before each frame, up to the one with the finish reason."""
        return range(len(self.frames(self.text)) - 2)

    def _usage(self, text: str) -> Any:
        return {"prompt_tokens": 5, "completion_tokens": len(text.split()) + 1}


TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
BY_TOOL = Answer(name="told by a tool of ours", text="I looked. The old mill is open.")
FOR_TOOL = Answer(name="calling a tool of ours", text="", calls=True)
ANSWERS = (
    evolve(BY_TOOL, before=FOR_TOOL),
    evolve(FOR_TOOL, after=BY_TOOL),
    Answer(
        name="english",
        text="Look at the map.\n\nThen walk along the old river to the mill. Rest there.",
    ),
    Answer(
        name="korean",
        text="먼저 지도를 봅니다.\n\n그다음 오래된 강을 따라 방앗간까지 갑니다. 거기서 쉽니다.",
        letters=2,
    ),
    Answer(name="call", text="Let me look. ", calls=True, request={"tools": TOOLS}),
    Answer(
        name="json",
        text='{"steps": ["look", "walk", "rest"], "done": true}',
        request={"response_format": {"type": "json_object"}},
        letters=6,
    ),
)


@frozen(kw_only=True)
class Fault:
    """A way to fail. `stream` and `plain` spoil an answer of so many pieces at a place."""

    name: str
    stream: Callable[[tuple[bytes, ...], int], Script]
    plain: Callable[[bytes, int], Script]
    at_head: bool = False
    """It is what the upstream says instead of an answer: there is only one place for it."""


def _delta(delta: Any, finish_reason: str | None = None) -> bytes:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _spoilt(name: str, frame: bytes, body: bytes) -> Fault:
    """Put a frame between the others, or a body in the place of the answer."""
    return Fault(
        name=name,
        stream=lambda frames, place: Script(frames=(*frames[:place], frame, *frames[place:])),
        plain=lambda _, __: Script(body=body),
    )


def _instead(name: str, **script: Any) -> Fault:
    said = Script(**{"body": b'{"error": {"message": "no"}}'} | script)
    return Fault(name=name, stream=lambda *_: said, plain=lambda *_: said, at_head=True)


ERROR = b'{"error": {"message": "it burns", "type": "server_error"}}'
BUSY = b'{"error": {"message": "busy", "code": "rate_limit_exceeded"}}'
HTML = b"<html><body>502 Bad Gateway</body></html>"
FAULTS = (
    Fault(
        name="cut",
        stream=lambda frames, place: Script(frames=frames, cut_after=place),
        plain=lambda body, place: Script(body=body, cut_after=min(place, 1)),
    ),
    Fault(
        name="end without a finish reason",
        stream=lambda frames, place: Script(frames=frames[:place]),
        plain=lambda body, place: Script(body=body[: min(place, len(body) - 2)]),
    ),
    Fault(
        name="[DONE] without a finish reason",
        stream=lambda frames, place: Script(frames=(*frames[:place], DONE)),
        plain=lambda *_: Script(body=b'{"choices": []}'),
    ),
    Fault(
        name="half a frame",
        stream=lambda frames, place: Script(frames=(*frames[:place], frames[place][:20])),
        plain=lambda body, _: Script(body=body[: len(body) // 2]),
    ),
    Fault(
        name="stall",
        stream=lambda frames, place: Script(frames=frames, hang_after=place),
        plain=lambda body, place: Script(body=body, hang_after=min(place, 1)),
    ),
    _spoilt("no JSON", b"data: {{{\n\n", b"{{{"),
    _spoilt("HTML in a frame", b"data: " + HTML + b"\n\n", HTML),
    _spoilt(
        "no UTF-8", b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n', b'{"a": "\xff"}'
    ),
    _spoilt("a wrong type", b'data: {"choices": {"delta": 1}}\n\n', b'{"choices": {"message": 1}}'),
    _spoilt("an error", b"data: " + ERROR + b"\n\n", ERROR),
    _spoilt("too many requests amid", b"data: " + BUSY + b"\n\n", BUSY),
    _instead("429", status=429, headers={"retry-after": "7"}),
    _instead("429 without Retry-After", status=429),
    _instead("500", status=500),
    _instead("502 HTML", status=502, body=HTML, headers={"content-type": "text/html"}),
    _instead("503", status=503, headers={"retry-after": "1"}),
    _instead("401", status=401),
    _instead("200 HTML", body=HTML, headers={"content-type": "text/html"}),
    _instead("200 truncated JSON", body=b'{"choices": [{"message": {"content": "Lo'),
    _instead("200 nothing", body=b""),
)
Policy: TypeAlias = Literal["continue", "restart", "hold"]


@frozen(kw_only=True)
class Case:
    """One cell."""

    answer: Answer
    fault: Fault
    place: int
    style: Style
    policy: Policy
    stream: bool

    def __str__(self) -> str:
        """Name it, so that it can be found again."""
        how = "stream" if self.stream else "plain"
        return (
            f"{self.answer.name}, {self.fault.name} at {self.place}, {self.style}, "
            f"{self.policy}, {how}"
        )

    def respond(self, target: str, asked: Received) -> Script:
        """Answer as `first`, `second` or `third`."""
        answer, said = self.answer, _said(asked)
        is_told = any(message["role"] == "tool" for message in asked.json["messages"])
        if (other := answer.after if is_told else answer.before) is not None:
            return other.script(other.text, stream=self.stream)
        if target == "first":
            if self.stream:
                return evolve(
                    self.fault.stream(answer.frames(answer.text), self.place), pause_s=1e-3
                )
            return self.fault.plain(answer.body(answer.text), self.place)
        text = answer.text if said is None else self._rest(said)
        script = answer.script(text, stream=self.stream)
        if target == "second" and self.style == "broken":
            half = len(script.frames) // 3 if script.frames else 1
            return evolve(script, cut_after=half)
        return script

    def _rest(self, said: str) -> str:
        whole = self.answer.text
        assert whole.startswith(said), said
        match self.style:
            case "exact" | "broken":
                return whole[len(said) :].lstrip(" ")
            case "spaced":
                return whole[len(said) :]
            case "sentence":
                return whole[max(0, said.rfind(". "), said.rfind(".\n")) :].lstrip(". \n")
            case "all":
                return whole


def _said(asked: Received) -> str | None:
    """Return what the model is to have said already, None when it begins."""
    *_, before, last = [None, *asked.json["messages"]]
    is_continuation = before is not None and (before["role"], last["role"]) == ("assistant", "user")
    return str(before["content"]) if is_continuation else None


def cases(policy: Policy, *, stream: bool, answers: Sequence[Answer] = ANSWERS) -> Iterator[Case]:
    """Go through the whole matrix: how the next goes on matters where something was seen."""
    for answer in answers:
        continues = stream and policy == "continue" and answer.name != "json"
        for fault in FAULTS:
            for place in answer.places if not fault.at_head else range(1):
                for style in STYLES if continues and not fault.at_head else ("exact", "broken"):
                    yield Case(
                        answer=answer,
                        fault=fault,
                        place=place,
                        style=style,
                        policy=policy,
                        stream=stream,
                    )
