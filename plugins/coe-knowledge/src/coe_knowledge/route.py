"""`/coe/v1/knowledge`: one's own group's knowledge and the global one, over HTTP."""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from attrs import asdict, field, frozen
from attrs.validators import ge, le

from coe_core.access import AccessRole, Principal
from coe_core.card import Card, CardKind
from coe_core.codec import structure
from coe_core.error import Forbidden, InvalidField, NotFound
from coe_core.http import Handler, HttpRequest, HttpResponse, HttpRoute, json_response
from coe_core.knowledge import Item, SearchQuery
from coe_core.service import RecordReader
from coe_core.settings import nearest
from coe_core.turn import GLOBAL, Passage, group_layer
from coe_knowledge.library import Added, Library, Outcome, Upload, evidence_of, unknown
from coe_knowledge.seeking import Found, search

BASE = "/coe/v1/knowledge"
WITHOUT_KEY = "local"
"""The actor where no keys exist."""
LARGEST_PAGE = 1000


@frozen(kw_only=True)
class DocumentBody:
    """A document: its text, or its bytes in base64."""

    source: str
    """Where it comes from: a path, an address, a name. The same source again replaces it."""
    text: str | None = None
    content_base64: str | None = None
    media_type: str | None = None
    """Without it, as the source's name ends: .md, .txt, .html, .pdf, .docx."""
    title: str | None = None
    layer: str | None = None
    """`global`, for admins; without it, the group's own."""
    valid_until: datetime | None = None


@frozen(kw_only=True)
class CardBody:
    """A card: a short piece of knowledge."""

    kind: CardKind
    text: str
    title: str = ""
    evidence: tuple[str, ...] = ()
    """Turns of the group, by id, from which the card was made."""
    layer: str | None = None
    """`global`, for admins; without it, the group's own."""
    valid_until: datetime | None = None


@frozen(kw_only=True)
class Sought:
    """What is sought; see `SearchQuery`."""

    text: str
    global_topk: int = field(default=5, validator=[ge(0), le(100)])
    group_topk: int = field(default=5, validator=[ge(0), le(100)])
    session_topk: int = field(default=0, validator=[ge(0), le(100)])
    min_score: float = 0.0
    kinds: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@frozen(kw_only=True)
class ListQuery:
    """Which items are listed."""

    layer: str | None = None
    """`global`, or the group's own; without it, both."""
    after: str = ""
    """The `next` of the page before."""
    limit: int = field(default=100, validator=[ge(1), le(LARGEST_PAGE)])


@frozen(kw_only=True)
class Items:
    """A page of documents and cards, by id."""

    items: tuple[Item, ...]
    next: str | None = None
    """What to ask for the next page with, as `after`; absent on the last."""


@frozen(kw_only=True)
class Whole:
    """An item with its passages."""

    item: Item
    passages: tuple[Passage, ...]


def routes(library: Library) -> Sequence[HttpRoute]:
    """Make the routes."""
    desk = Desk(library)
    item, passage = "/items/{id}", "/passages/{id}"
    return [
        _route(
            "POST", "/documents", desk.add_document, "member", DocumentBody, Added, creates=True
        ),
        _route("POST", "/cards", desk.add_card, "member", CardBody, Card, creates=True),
        _route("POST", "/search", desk.search, "viewer", Sought, Found),
        _route("GET", "/items", desk.list, "viewer", None, Items, query=ListQuery),
        _route("GET", item, desk.show, "viewer", None, Whole),
        _route("DELETE", item, desk.remove, "member", None, Items),
        _route("GET", passage, desk.passage, "viewer", None, Passage),
    ]


def _route(
    method: Literal["GET", "POST", "DELETE"],
    path: str,
    handler: Handler,
    role: AccessRole,
    request: type[Any] | None,
    response: type[Any],
    *,
    query: type[Any] | None = None,
    creates: bool = False,
) -> HttpRoute:
    """Make a route; its handler says what it is for."""
    return HttpRoute(
        method=method,
        path=BASE + path,
        handler=handler,
        role=role,
        summary=(handler.__doc__ or "").removesuffix("."),
        request=request,
        response=response,
        query=query,
        creates=creates,
    )


@frozen
class Desk:
    """Where a library is used over HTTP."""

    library: Library

    async def add_document(self, request: HttpRequest) -> HttpResponse:
        """Add a document, or replace the one of its source: 201 where it is new, else 200."""
        body: DocumentBody = await request.read(DocumentBody)
        upload = Upload(
            layer=_writable(body.layer, request.principal),
            source=body.source,
            content=await asyncio.to_thread(_content, body),
            media_type=body.media_type,
            title=body.title,
            valid_until=body.valid_until,
        )
        added = await self.library.add(upload, _actor(request.principal))
        return json_response(added, status=_status(added.outcome))

    async def add_card(self, request: HttpRequest) -> HttpResponse:
        """Add a card: 201 where it is new, 200 where the layer had it."""
        body: CardBody = await request.read(CardBody)
        group, evidence = request.principal.group, []
        if body.evidence:
            reader = request.application.need(RecordReader)
            evidence = await evidence_of(reader, group, body.evidence)
        added = await self.library.add_card(
            layer=_writable(body.layer, request.principal),
            kind=body.kind,
            text=body.text,
            title=body.title,
            valid_until=body.valid_until,
            evidence=evidence,
            actor=_actor(request.principal),
        )
        return json_response(added.card, status=_status(added.outcome))

    async def search(self, request: HttpRequest) -> HttpResponse:
        """Find passages."""
        sought: Sought = await request.read(Sought)
        query = SearchQuery(layers=_seen(request.principal), **asdict(sought, recurse=False))
        return json_response(await search(request.application, query, request.principal.group))

    async def list(self, request: HttpRequest) -> HttpResponse:
        """List documents and cards."""
        query = _query(request)
        layers = _seen(request.principal)
        if query.layer is not None:
            layers = tuple(layer for layer in layers if layer == query.layer)
        items = await self.library.store.items(layers, after=query.after, limit=query.limit)
        more = items[-1].id if len(items) == query.limit else None
        return json_response(Items(items=tuple(items), next=more))

    async def show(self, request: HttpRequest) -> HttpResponse:
        """Show a document or card with its passages."""
        layers, id_ = _seen(request.principal), request.path_params["id"]
        item = await self.library.store.item(layers, id_)
        if item is None:
            raise unknown(id_)
        passages = await self.library.store.neighbours(layers, id_, 0, 2**31 - 1)
        return json_response(Whole(item=item, passages=tuple(passages)))

    async def remove(self, request: HttpRequest) -> HttpResponse:
        """Remove a document or card."""
        principal, id_ = request.principal, request.path_params["id"]
        item = await self.library.store.item(_seen(principal), id_)
        if item is None:
            raise unknown(id_)
        removed = await self.library.remove(
            _writable(item.layer, principal), id_, _actor(principal)
        )
        return json_response(Items(items=(removed,)))

    async def passage(self, request: HttpRequest) -> HttpResponse:
        """Open the passage that an answer cites."""
        id_ = request.path_params["id"]
        found = await self.library.store.passages(_seen(request.principal), [id_])
        if not found:
            raise NotFound(f"there is no passage {id_!r:.200}")
        return json_response(found[0])


def _status(outcome: Outcome) -> int:
    return 201 if outcome == "added" else 200


def _seen(principal: Principal) -> tuple[str, ...]:
    return (group_layer(principal.group), GLOBAL)


def _writable(layer: str | None, principal: Principal) -> str:
    """Return the layer that is written: one's own, the global one for admins alone."""
    own = group_layer(principal.group)
    if layer in (None, own):
        return own
    if layer != GLOBAL:
        raise Forbidden(
            f"a key of the group {principal.group!r} writes to its layer, not to others"
        )
    if not principal.may("admin"):
        raise Forbidden("only the role 'admin' writes to the global layer: every group sees it")
    return GLOBAL


def _actor(principal: Principal) -> str:
    return principal.key_id or WITHOUT_KEY


def _content(body: DocumentBody) -> bytes:
    if (body.text is None) == (body.content_base64 is None):
        raise InvalidField("give either text or content_base64", param="text")
    if body.text is not None:
        return body.text.encode()
    try:
        return b64decode(body.content_base64 or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidField(f"content_base64: {error}", param="content_base64") from error


def _query(request: HttpRequest) -> ListQuery:
    known = ("layer", "after", "limit")
    for name in request.query:
        if name not in known:
            raise InvalidField(
                f"there is no parameter {name!r:.40}{nearest(name, known)}", param=name
            )
    told: dict[str, str | int] = dict(request.query)
    if "limit" in told:
        try:
            told["limit"] = int(told["limit"])
        except ValueError:
            raise InvalidField("limit is a whole number", param="limit") from None
    try:
        query: ListQuery = structure(told, ListQuery)
    except Exception as error:
        raise InvalidField(f"limit is 1 to {LARGEST_PAGE}", param="limit") from error
    return query
