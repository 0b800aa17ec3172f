"""What a deployment says about an OpenAI-compatible upstream."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen

from coe_core.settings import Secret


def _check_address(_: object, attribute: Attribute[str], value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{attribute.name} is an address like https://host/v1, not {value!r}")
    if parts.username or parts.password:
        raise ValueError(f"{attribute.name} holds no password: that belongs in api_key")


@frozen(kw_only=True)
class Options:
    """The keys of `[models.ALIAS]` where `provider = "openai"`."""

    base_url: str = field(default="https://api.openai.com/v1", validator=_check_address)
    """Where the upstream's API begins, up to and with its version."""
    api: Literal["chat"] = "chat"
    """The API that answers: `chat` means chat completions."""
    api_key: Secret | None = field(default=None, repr=False)
    """Sent as a bearer token, `env:NAME` or `file:PATH`; read anew for each call."""
    organization: str | None = None
    """OpenAI's organization, if the key belongs to several."""
    headers: Mapping[str, str] = field(factory=dict)
    """Further headers."""
    secret_headers: Mapping[str, Secret] = field(factory=dict, repr=False)
    """Further headers that are secret, `api-key` for some gateways."""
    proxy: str | None = None
    """An HTTP proxy on the way, `http://host:port`. The environment's proxies are not used."""
    embedding_format: Literal["float", "base64"] = "float"
    """How embeddings are asked for: base64 is a quarter of the size, but not known everywhere."""

    @cached_property
    def host(self) -> str:
        """The host and port, for messages."""
        return urlsplit(self.base_url).netloc

    def url(self, path: str) -> str:
        """Return the address of one of the API's paths."""
        head, tail = self._ends
        return f"{head}/{path}{tail}"

    @cached_property
    def _ends(self) -> tuple[str, str]:
        parts = urlsplit(self.base_url)
        head = parts._replace(path=parts.path.rstrip("/"), query="", fragment="")
        return head.geturl(), parts._replace(scheme="", netloc="", path="").geturl()

    def open_headers(self) -> dict[str, str]:
        """Make the headers that are no secret."""
        own = {"OpenAI-Organization": self.organization} if self.organization else {}
        return {**self.headers, **own}

    def reveal_secrets(self) -> dict[str, str]:
        """Read the secrets, by header. Raises `SettingsError` for one that is not there."""
        keys = dict(self.secret_headers)
        if self.api_key is not None:
            keys["Authorization"] = self.api_key
        return {name: secret.reveal().strip() for name, secret in keys.items()}
