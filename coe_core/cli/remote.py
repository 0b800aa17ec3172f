"""A conversation with any server that speaks OpenAI's protocol, over the standard library."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, cast
from urllib.parse import urlsplit

from attrs import field, frozen

from coe_core.codec import decode, encode
from coe_core.error import InvalidField, UpstreamCut, UpstreamError, UpstreamUnreachable

Write: TypeAlias = Callable[[str], None]

SILENCE_S = 600.0
"""How long a server may say nothing."""


@frozen
class RemoteConversation:
    """Holds the history, and sends it whole each time."""

    url: str
    model: str
    key: str | None = field(repr=False)
    _history: list[dict[str, str]] = field(factory=list, init=False)

    def answer(self, text: str, write: Write) -> None:
        """Send the conversation, and write the answer as it is streamed."""
        asked = [*self._history, {"role": "user", "content": text}]
        pieces: list[str] = []
        try:
            with self._post(asked) as response:
                for piece in _pieces(response):
                    pieces.append(piece)
                    write(piece)
        except (OSError, http.client.HTTPException) as error:
            raise UpstreamUnreachable(f"{self.url}: {getattr(error, 'reason', error)}") from error
        finally:
            # What was stopped halfway was said too; what failed from the start was not.
            if pieces:
                self._history[:] = [*asked, {"role": "assistant", "content": "".join(pieces)}]

    def _post(self, messages: list[dict[str, str]]) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        body = encode({"model": self.model, "messages": messages, "stream": True})
        request = urllib.request.Request(self.url, body, headers)  # noqa: S310 checked in `endpoint`
        try:
            return cast(
                "http.client.HTTPResponse",
                urllib.request.urlopen(request, timeout=SILENCE_S),  # noqa: S310 the same
            )
        except urllib.error.HTTPError as error:
            with error:
                text = _refusal(error.read()) or error.reason
                raise UpstreamError(f"the server answered {error.code}: {text}") from error


def endpoint(url: str) -> str:
    """Complete an address: `http://127.0.0.1:8420`, with or without `/v1`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidField(f"{url!r} is no address of a server: write http://HOST:PORT")
    path = parts.path.rstrip("/") or "/v1"
    return parts._replace(path=f"{path}/chat/completions").geturl()


def _pieces(lines: Iterable[bytes]) -> Iterator[str]:
    """Read the text out of a stream of server-sent events, until `[DONE]`."""
    for line in lines:
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:"):
            continue
        if data == b"[DONE]":
            return
        if (refusal := _refusal(data)) is not None:
            raise UpstreamError(refusal)
        for choice in decode(data).get("choices", []):
            yield choice.get("delta", {}).get("content") or ""
    raise UpstreamCut("the server's answer broke off")


def _refusal(body: bytes) -> str | None:
    """Return the message of an error in OpenAI's shape, None when it is none."""
    try:
        match decode(body):
            case {"error": {"message": str(message)}}:
                return message
    except ValueError:
        pass
    return None
