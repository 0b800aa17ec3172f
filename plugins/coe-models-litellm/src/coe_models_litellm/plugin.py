"""The plugin `litellm`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from coe_core.contract import Check, ModelProvider
from coe_core.hookspec import hookimpl

if TYPE_CHECKING:
    from coe_core.compose import Context


@frozen(kw_only=True)
class Settings:
    """No keys of its own: a model is described by its `[models.ALIAS]`."""


@frozen
class LiteLLMPlugin:
    """Contributes the provider `litellm`, and two checks of what was installed with it."""

    settings: Settings

    @hookimpl
    def coe_model_providers(self, ctx: Context) -> Sequence[ModelProvider]:
        from coe_models_litellm.library import refuse_bad_release
        from coe_models_litellm.provider import LiteLLMProvider

        refuse_bad_release()
        return [LiteLLMProvider()]

    @hookimpl
    def coe_checks(self, ctx: Context) -> Sequence[Check]:
        from coe_models_litellm.release import ReleaseCheck
        from coe_models_litellm.startup import StartupCheck

        return [ReleaseCheck(), StartupCheck()]
