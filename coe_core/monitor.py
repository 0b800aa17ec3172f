"""What the deployment measures of itself, and which alerts hold: asked of an application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from loguru import logger

from coe_core.application import Application
from coe_core.contract import Alert, Sample

PATIENCE_S = 5.0
"""A monitor or a rule that takes longer is passed over."""

T = TypeVar("T")


async def measure(application: Application) -> list[Sample]:
    """Ask every monitor, all at once. One that raises or dawdles is logged and passed over."""
    answers = await asyncio.gather(*(_answer(m.name, m.measure) for m in application.monitors))
    return [sample for answer in answers if answer is not None for sample in answer]


async def evaluate(
    application: Application, now: datetime, *, apart_from: type[Any] | tuple[()] = ()
) -> dict[str, Sequence[Alert] | None]:
    """Ask every alert rule, but those of a class, which alerts hold; None for a rule that did not
    answer, of whose alerts nobody can say whether they are over.
    """
    rules = [rule for rule in application.alert_rules if not isinstance(rule, apart_from)]
    answers = await asyncio.gather(
        *(_answer(rule.name, partial(rule.evaluate, now)) for rule in rules)
    )
    return {rule.name: answer for rule, answer in zip(rules, answers, strict=True)}


async def _answer(
    name: str, ask: Callable[[], Coroutine[Any, Any, Sequence[T]]]
) -> Sequence[T] | None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await ask()
    except Exception as error:
        logger.bind(component=name).opt(exception=error).error("a component did not answer")
        return None
