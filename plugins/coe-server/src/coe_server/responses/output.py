"""The output of a response as it grows, and the events that tell of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from attrs import define, field

from coe_core.codec import unstructure
from coe_core.message import Json
from coe_core.model import Chunk, ToolCallDelta
from coe_core.turn import Passage
from coe_server.citation import text_annotations
from coe_server.responses.item import (
    ItemStatus,
    OutputFunctionCall,
    OutputItem,
    OutputMessage,
    OutputPart,
    OutputText,
    Refusal,
)

ResponseEvent: TypeAlias = dict[str, Json]
PartKind: TypeAlias = Literal["output_text", "refusal"]


@define(eq=False)
class PartDraft:
    """A stretch of text or of refusal as it grows."""

    kind: PartKind
    place: ResponseEvent
    pieces: list[str] = field(factory=list)
    annotations: tuple[Json, ...] = ()

    def part(self) -> OutputPart:
        """Return what has been written so far."""
        text = "".join(self.pieces)
        if self.kind == "output_text":
            return OutputText(type="output_text", text=text, annotations=self.annotations)
        return Refusal(type="refusal", refusal=text)

    def cite(self, shown: Sequence[Passage]) -> None:
        """Annotate what is whole now."""
        if self.kind == "output_text":
            self.annotations = tuple(text_annotations("".join(self.pieces), shown))

    def begin(self) -> ResponseEvent:
        """Tell that the part begins."""
        return {"type": "response.content_part.added", **self.place, "part": self._written()}

    def add(self, text: str) -> ResponseEvent:
        """Append a piece."""
        self.pieces.append(text)
        return self._text_event("delta", delta=text)

    def finish(self) -> Iterator[ResponseEvent]:
        """Tell that the part is whole."""
        for number, annotation in enumerate(self.annotations):
            added = {"annotation_index": number, "annotation": annotation}
            yield {"type": "response.output_text.annotation.added", **self.place, **added}
        words = {"text" if self.kind == "output_text" else "refusal": "".join(self.pieces)}
        yield self._text_event("done", **words)
        yield {"type": "response.content_part.done", **self.place, "part": self._written()}

    def _written(self) -> Json:
        return unstructure(self.part())

    def _text_event(self, what: str, **words: str) -> ResponseEvent:
        logprobs: ResponseEvent = {"logprobs": []} if self.kind == "output_text" else {}
        return {"type": f"response.{self.kind}.{what}", **self.place, **words, **logprobs}


@define(eq=False)
class MessageDraft:
    """The model's message as it grows."""

    id: str
    place: ResponseEvent
    parts: list[PartDraft] = field(factory=list)

    def item(self, status: ItemStatus) -> OutputMessage:
        """Return what has been written so far."""
        parts = tuple(draft.part() for draft in self.parts)
        return OutputMessage(id=self.id, status=status, content=parts)

    def add(self, kind: PartKind, text: str) -> Iterator[ResponseEvent]:
        """Append a piece; one of another kind than the last begins another part."""
        if not self.parts or self.parts[-1].kind != kind:
            self.parts.append(PartDraft(kind, {**self.place, "content_index": len(self.parts)}))
            yield self.parts[-1].begin()
        yield self.parts[-1].add(text)

    def finish(self) -> Iterator[ResponseEvent]:
        """Tell that the parts are whole."""
        for draft in self.parts:
            yield from draft.finish()


@define(eq=False)
class CallDraft:
    """A function call as it grows."""

    id: str
    place: ResponseEvent
    call_id: str
    name: str
    pieces: list[str] = field(factory=list)

    def item(self, status: ItemStatus) -> OutputFunctionCall:
        """Return what has been written so far."""
        arguments = "".join(self.pieces)
        return OutputFunctionCall(
            id=self.id, status=status, call_id=self.call_id, name=self.name, arguments=arguments
        )

    def add(self, arguments: str) -> ResponseEvent:
        """Append a piece of the arguments."""
        self.pieces.append(arguments)
        return {
            "type": "response.function_call_arguments.delta",
            **self.place,
            "delta": arguments,
        }

    def finish(self) -> Iterator[ResponseEvent]:
        """Tell that the arguments are whole."""
        yield {
            "type": "response.function_call_arguments.done",
            **self.place,
            "name": self.name,
            "arguments": "".join(self.pieces),
        }


@define(eq=False)
class Output:
    """The items of a response. All stay open until the end: upstreams may write them by turns."""

    turn_id: str
    _drafts: list[MessageDraft | CallDraft] = field(factory=list, init=False)
    _message: MessageDraft | None = field(default=None, init=False)
    _calls: dict[int, CallDraft] = field(factory=dict, init=False)

    def items(self, status: ItemStatus) -> tuple[OutputItem, ...]:
        """Return the items, all with one status."""
        return tuple(draft.item(status) for draft in self._drafts)

    def add(self, chunk: Chunk) -> Iterator[ResponseEvent]:
        """Take in a piece of the answer."""
        if chunk.content:
            yield from self._say("output_text", chunk.content)
        if refusal := chunk.delta_extra.get("refusal"):
            yield from self._say("refusal", refusal)
        for delta in chunk.tool_calls:
            yield from self._call(delta)

    def cite(self, shown: Sequence[Passage]) -> None:
        """Annotate the text where it cites passages that the model was shown."""
        for draft in self._message.parts if self._message is not None else ():
            draft.cite(shown)

    def finish(self, status: ItemStatus) -> Iterator[ResponseEvent]:
        """Close every item."""
        for index, draft in enumerate(self._drafts):
            yield from draft.finish()
            yield _item_event("done", index, draft.item(status))

    def _say(self, kind: PartKind, text: str) -> Iterator[ResponseEvent]:
        if self._message is None:
            identity = f"msg_{self.turn_id}"
            self._message = MessageDraft(identity, self._place(identity))
            yield self._open(self._message)
        yield from self._message.add(kind, text)

    def _call(self, delta: ToolCallDelta) -> Iterator[ResponseEvent]:
        call = self._calls.get(delta.index)
        if call is None:
            identity = f"fc_{self.turn_id}_{len(self._calls)}"
            call = CallDraft(
                identity, self._place(identity), delta.id or identity, delta.name or ""
            )
            self._calls[delta.index] = call
            yield self._open(call)
        if delta.arguments:
            yield call.add(delta.arguments)

    def _place(self, item_id: str) -> ResponseEvent:
        return {"item_id": item_id, "output_index": len(self._drafts)}

    def _open(self, draft: MessageDraft | CallDraft) -> ResponseEvent:
        self._drafts.append(draft)
        return _item_event("added", len(self._drafts) - 1, draft.item("in_progress"))


def _item_event(what: str, index: int, item: OutputItem) -> ResponseEvent:
    return {
        "type": f"response.output_item.{what}",
        "output_index": index,
        "item": unstructure(item),
    }
