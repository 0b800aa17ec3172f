import base64
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
from coe_models_openai.embedding import decode_vectors
from coe_models_openai.provider import OpenAIProvider
from hypothesis import given
from hypothesis import strategies as st

from coe_core.error import (
    CoeError,
    UpstreamCut,
    UpstreamDenied,
    UpstreamMalformed,
    UpstreamOverloaded,
    UpstreamTimeout,
)
from coe_core.model import Model, Usage, Vectors
from coe_core.request import EmbeddingRequest
from coe_core.testing.upstream import Script, Upstream

MakeModel = Callable[..., Model]
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def request(*texts: str, **fields: Any) -> EmbeddingRequest:
    return EmbeddingRequest(model="small", input=texts, **fields)


def row(index: int | None, *numbers: float) -> dict[str, Any]:
    return {"embedding": list(numbers)} | ({} if index is None else {"index": index})


def body(*rows: Any, **more: Any) -> bytes:
    return json.dumps({"data": rows} | more).encode()


async def test_both_forms_give_the_same_vectors(
    upstream: Upstream, provider: OpenAIProvider, model: MakeModel
) -> None:
    forms = [
        await provider.embed(
            model(embedding_format=form), request("안녕", "hello"), group="default"
        )
        for form in ("float", "base64")
    ]
    assert forms[0] == forms[1]
    assert len(forms[0]) == 2
    assert forms[0].usage == Usage(input_tokens=3)
    assert [received.json["encoding_format"] for received in upstream.received] == [
        "float",
        "base64",
    ]


async def test_what_is_asked(
    upstream: Upstream, provider: OpenAIProvider, model: MakeModel
) -> None:
    asked = request("a", dimensions=4, user="u", extra={"x": 1}, purpose="query")
    vectors = await provider.embed(model(), asked, group="default")
    assert vectors.dimensions == 4
    assert upstream.received[0].path == "/v1/embeddings"
    assert upstream.received[0].json == {
        "model": "gpt-synthetic",
        "input": ["a"],
        "encoding_format": "float",
        "dimensions": 4,
        "user": "u",
        "x": 1,
    }


async def test_tokens_stay_tokens(
    upstream: Upstream, provider: OpenAIProvider, model: MakeModel
) -> None:
    asked = EmbeddingRequest(model="small", tokens=((1, 2), (3,)))
    assert len(await provider.embed(model(), asked, group="default")) == 2
    assert upstream.received[0].json["input"] == [[1, 2], [3]]


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(FLOATS, min_size=width, max_size=width), min_size=1)
    ),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_vectors_come_in_the_order_of_the_input(
    rows: list[list[float]],
    random: Any,
    as_base64: bool,
) -> None:
    def form(numbers: list[float]) -> Any:
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
        return base64.b64encode(packed).decode() if as_base64 else numbers

    data = [{"index": index, "embedding": form(numbers)} for index, numbers in enumerate(rows)]
    random.shuffle(data)
    assert decode_vectors(body(*data), len(rows)) == Vectors.of(rows)


def test_an_upstream_need_not_count() -> None:
    assert decode_vectors(body(row(None, 1.0), row(None, 2.0)), 2) == Vectors.of([[1.0], [2.0]])


@pytest.mark.parametrize(
    "script",
    [
        Script(body=body(row(0, 1.0))),
        Script(body=body(row(0, 1.0), row(0, 1.0))),
        Script(body=body(row(0, 1.0), row(2, 1.0))),
        Script(body=body(row(0, 1.0), row(1, 1.0, 2.0))),
        Script(body=body(row(0), row(1))),
        Script(body=body({"index": 0, "embedding": "!"}, {"index": 1, "embedding": "AAAA"})),
        Script(body=body({"index": 0, "embedding": "AA=="}, {"index": 1, "embedding": "AA=="})),
        Script(body=body({"index": 0, "embedding": ["a"]}, row(1, 1.0))),
        Script(body=b"{}"),
        Script(body=b"[]"),
        Script(body=b"{"),
    ],
    ids=[
        "too few",
        "twice the same",
        "beyond the end",
        "of two lengths",
        "empty",
        "no base64",
        "no whole floats",
        "no numbers",
        "no rows",
        "no object",
        "no JSON",
    ],
)
async def test_what_are_no_vectors_is_malformed(
    upstream: Upstream, provider: OpenAIProvider, model: MakeModel, script: Script
) -> None:
    upstream.say(script)
    with pytest.raises(UpstreamMalformed, match="model 'small'"):
        await provider.embed(model(), request("a", "b"), group="default")


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Script(status=401), UpstreamDenied),
        (Script(status=429), UpstreamOverloaded),
        (Script(cut_after=1), UpstreamCut),
        (Script(hang_after=1), UpstreamTimeout),
        (Script(body=b'{"error": {"code": 429}}'), UpstreamOverloaded),
        (Script(body=b"<html>", headers={"content-type": "text/html"}), UpstreamMalformed),
    ],
)
async def test_embedding_fails_as_completing_does(
    upstream: Upstream,
    provider: OpenAIProvider,
    model: MakeModel,
    script: Script,
    kind: type[CoeError],
) -> None:
    upstream.say(script)
    with pytest.raises(CoeError) as caught:
        await provider.embed(model(request_timeout_s=0.2), request("a"), group="default")
    assert type(caught.value) is kind
