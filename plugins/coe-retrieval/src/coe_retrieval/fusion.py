"""Fusion: one score of what the words say and what the meaning says."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from coe_retrieval.array import Scores

MEANING = 1.0
"""What the meaning weighs beside the words, which weigh 1. `bench/retrieval.py` finds .7 to 1 best,
and little between them."""


@frozen
class Fused:
    """Scores of some texts, 0 to 1, and what they are made of."""

    scores: Scores
    lexical: Scores
    dense: Scores


def fuse(lexical: Scores, similarity: Scores | None, unrelated: float) -> Fused:
    """Fuse the shares of the question's terms with cosines; NaN where there is no vector.

    `unrelated` is the cosine of the question with what has nothing to do with it: embedders differ
    widely in that, so nearness is told by how much of the way from there to 1 a text has come.
    """
    if similarity is None:
        dense = np.zeros_like(lexical)
    else:
        way = (similarity - unrelated) / max(1.0 - unrelated, 1e-6)
        dense = np.clip(np.nan_to_num(way, nan=0.0), 0.0, 1.0).astype(np.float32)
    return Fused(((lexical + MEANING * dense) / (1 + MEANING)).astype(np.float32), lexical, dense)
