"""The plugin `openai`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from coe_core.contract import ModelProvider
from coe_core.hookspec import hookimpl

if TYPE_CHECKING:
    from coe_core.compose import Context


@frozen(kw_only=True)
class Settings:
    """No keys of its own: an upstream is described by its `[models.ALIAS]`."""


@frozen
class OpenAIPlugin:
    """Contributes the provider `openai`."""

    settings: Settings

    @hookimpl
    def coe_model_providers(self, ctx: Context) -> Sequence[ModelProvider]:
        from coe_models_openai.provider import OpenAIProvider

        return [OpenAIProvider()]
