"""The types of numpy's arrays, for modules that import numpy only when they compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector: TypeAlias = NDArray[np.float32]
    Rows: TypeAlias = NDArray[np.float32]
    Scores: TypeAlias = NDArray[np.float32]
else:
    Vector = Any
    """What stands for the meaning of a text."""
    Rows = Any
    """Vectors, one a row."""
    Scores = Any
    """One of each text, by its number; 0 where nothing of the question stands in it."""
