"""The settings of the plugin `retrieval`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from coe_core.naming import naming
from coe_core.parameter import parameter

COUNT = and_(ge(0), le(100))


def _installed(_settings: Any, _attribute: Any, value: bool) -> None:  # noqa: FBT001 attrs' own
    if value and find_spec("kiwipiepy") is None:
        msg = "this needs a package more: pip install 'coe-retrieval[morphemes]'"
        raise ValueError(msg)


@frozen(kw_only=True)
class Settings:
    """`[plugins.retrieval]`."""

    global_topk: int = parameter(5, validator=COUNT)
    """The most passages of the layer `global` that a turn is given; 0: none."""
    group_topk: int = parameter(5, validator=COUNT)
    """The most passages of the group's own documents and cards that a turn is given; 0: none."""
    session_topk: int = parameter(0, validator=COUNT)
    """The most of the group's earlier turns that a turn is given. 0, the default: what one member
    once said reaches the others only where somebody asked for it.
    """
    min_score: float = parameter(0.0, validator=and_(ge(0), le(1)))
    """What a passage must score at least, from 0 to 1: how much of the question's words and
    meaning it has. What is found for a question about something else mostly stays below .45,
    and below .25 among earlier turns.
    """
    neighbours: int = parameter(1, validator=and_(ge(0), le(3)))
    """How many passages on each side of a hit come along, where the token budget has room."""
    embed_s: float = field(default=5.0, validator=gt(0))
    """How often what was added is embedded. It is found by its words at once, by its meaning from
    then on.
    """
    payer: str = "default"
    """The group that pays for embedding the layer `global`."""
    morphemes: bool = field(default=False, validator=_installed)
    """Whether Korean is found by its morphemes too, beside words and pairs of syllables. It needs
    `coe-retrieval[morphemes]`, 300 MB of memory, and 3 ms of CPU a passage, at each start anew.
    """
    reranker: str = naming("rerankers", "")
    """Which reranker, of whatever plugin, has a second look at what was found; "": none."""
    second_embedder: str = naming("models", "embed-fast")
    """The alias of the model that the bundled reranker, `second-embedder`, asks."""
    second_share: float = field(default=0.3, validator=and_(ge(0), le(1)))
    """How much of a score is the second embedder's: about .3 for the weaker of two, .7 for the
    better.
    """
    rerank_topk: int = field(default=20, validator=and_(ge(1), le(100)))
    """How many passages of each layer it is shown."""
    rerank_s: float = field(default=0.5, validator=gt(0))
    """How long it may take. Then the order is that of the search, and the record says so."""
    uri: str | None = None
    """Where vectors are kept: a folder, or an object storage's address such as `s3://bucket/path`;
    by default `retrieval` in the data folder.
    """
    storage: Mapping[str, str] = field(factory=dict, repr=False)
    """What LanceDB is to know of the object storage: `endpoint`, `region`, ... Keys are best left
    to the environment.
    """
