"""Korean morphemes, by Kiwi. Needs `coe-retrieval[morphemes]`."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

from coe_retrieval.term import terms

KINDS = ("NN", "NR", "VV", "VA", "XR", "MAG", "SL", "SN", "SH")
"""Tags of morphemes that say something: nouns, verbs, adjectives, roots, adverbs, foreign words."""

_lock = Lock()


def words_and_morphemes(text: str) -> list[str]:
    """Take a text apart into its terms, and into its morphemes as well. A morpheme is not taken for
    a term of the same letters: both count.
    """
    with _lock:  # Every index has a thread of its own.
        tokens = _kiwi().tokenize(text)
    said = [token.form for token in tokens if token.tag.startswith(KINDS)]
    return [*terms(text), *(f"{form.casefold()}/" for form in said)]


@cache
def _kiwi() -> Any:
    """Load Kiwi with its model: over a second, and 300 MB, that a process at rest does without."""
    # Names of several words, from Wikidata, would take 200 MB and a second more.
    return import_module("kiwipiepy").Kiwi(num_workers=1, load_multi_dict=False)
