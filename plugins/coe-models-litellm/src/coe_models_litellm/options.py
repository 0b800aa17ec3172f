"""What a deployment says about a model behind litellm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from coe_core.message import Json
from coe_core.settings import Secret


@frozen(kw_only=True)
class Options:
    """The keys of `[models.ALIAS]` where `provider = "litellm"`."""

    api_key: Secret | None = field(default=None, repr=False)
    """`env:NAME` or `file:PATH`; read anew for each call. None leaves it to litellm, which looks
    for the provider's own variable, `ANTHROPIC_API_KEY` say."""
    base_url: str | None = None
    """Where the API is, if it is not where litellm looks for it."""
    api_version: str | None = None
    """For providers that want one, Azure say."""
    extra: Mapping[str, Json] = field(factory=dict)
    """Further arguments of litellm's functions: `drop_params`, `aws_region_name`, ..."""
    extra_secrets: Mapping[str, Secret] = field(factory=dict, repr=False)
    """Further arguments that are secret: `aws_secret_access_key`, ..."""

    def reveal_secrets(self) -> dict[str, str]:
        """Read the secrets, by argument. Raises `SettingsError` for one that is not there."""
        keys = dict(self.extra_secrets)
        if self.api_key is not None:
            keys["api_key"] = self.api_key
        return {name: secret.reveal().strip() for name, secret in keys.items()}

    def arguments(self) -> dict[str, Any]:
        """Make the arguments that are no secret.

        Retries are ours to decide, and each must be seen: litellm makes none by itself.
        """
        own = {"api_base": self.base_url, "api_version": self.api_version}
        given = {name: value for name, value in own.items() if value is not None}
        retries = {"max_retries": 0, "num_retries": 0}
        return {**retries, **self.extra, **given}
