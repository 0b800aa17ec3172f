"""Fusion: one score of what the words say and what the meaning says."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from coe_retrieval.array import Scores

APART, JOINT = 0.0, 1.0
"""How far words and meaning are evidence of the same. Apart they are added up; joint, what both say
counts once, as with probabilities ("noisy or"), so that a passage without a word of the question
is not behind whatever shares a few.
"""


@frozen
class Fused:
    """Scores of some texts, 0 to 1, and what they are made of."""

    scores: Scores
    lexical: Scores
    dense: Scores


def fuse(
    lexical: Scores, similarity: Scores | None, unrelated: float, overlap: float = JOINT
) -> Fused:
    """Fuse the shares of the question's terms with cosines; NaN where there is no vector.

    `unrelated` is the cosine of the question with what has nothing to do with it (`nearness`).
    """
    dense = np.zeros_like(lexical) if similarity is None else nearness(similarity, unrelated)
    both = (lexical + dense - overlap * lexical * dense) / (2 - overlap)
    return Fused(both.astype(np.float32), lexical, dense)


def nearness(similarity: Scores, unrelated: float) -> Scores:
    """Tell how much of the way from `unrelated` to 1 cosines have come; 0 for NaN. Embedders differ
    widely in what cosine has nothing to say.
    """
    way = (similarity - unrelated) / max(1.0 - unrelated, 1e-6)
    return np.asarray(np.clip(np.nan_to_num(way, nan=0.0), 0.0, 1.0), np.float32)
