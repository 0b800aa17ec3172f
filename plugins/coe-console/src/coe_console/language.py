"""The languages of the console: the English text is the key of its translation."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Literal, TypeAlias

Language: TypeAlias = Literal["en", "ko"]


def preferred(accept_language: str) -> Language:
    """Choose by the header Accept-Language (RFC 9110, 12.5.4): Korean if it weighs more than
    English, else English.
    """
    weights = {"en": 0.0, "ko": 0.0}
    for entry in accept_language.split(","):
        tag, _, weight = entry.strip().partition(";q=")
        language = tag.partition("-")[0].lower()
        if language in weights:
            weights[language] = max(weights[language], _number(weight))
    return "ko" if weights["ko"] > weights["en"] else "en"


def _number(weight: str) -> float:
    try:
        return float(weight or 1)
    except ValueError:
        return 0.0


@functools.cache
def texts(language: Language) -> Mapping[str, str]:
    """Return the translations into a language; English has none, being the key."""
    if language == "en":
        return {}
    return tomllib.loads((files("coe_console") / f"{language}.toml").read_text(encoding="utf-8"))
