"""Grammars that hold a model to a JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping

from coe_core.error import InvalidField
from coe_core.message import Json

WHITESPACE = r"\n? {0,8}"
"""Between the parts: as models are used to write it, but never without end."""


def grammar(schema: Mapping[str, Json], *, param: str, strict: bool = False) -> str:
    """Write the grammar of a schema, in the language of llguidance.

    Keywords that cannot be held to are passed over, unless `strict`. Raises `InvalidField`, because
    llama.cpp would answer without any constraint where a grammar cannot be compiled. Blocks: a few
    milliseconds, for a huge schema a few hundred.
    """
    import llguidance  # takes 0.1 s

    options = {"whitespace_pattern": WHITESPACE, "lenient": not strict}
    text = f"%llguidance {{}}\nstart: %json {json.dumps({**schema, 'x-guidance': options})}"
    if problem := llguidance.LLMatcher.validate_grammar(text):
        reason = problem.partition("JSON schema: ")[2] or problem
        msg = f"{param}: the local model cannot be held to this schema: {reason.splitlines()[0]}"
        raise InvalidField(msg, param=param)
    return text
