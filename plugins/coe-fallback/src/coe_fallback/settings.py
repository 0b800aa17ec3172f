"""The settings of the plugin."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import ge, gt, in_, le

from coe_core.naming import naming
from coe_core.parameter import parameter

Policy: TypeAlias = Literal["continue", "restart", "hold"]


@frozen(kw_only=True)
class Settings:
    fallback_policy: Policy = parameter("continue", validator=in_(("continue", "restart", "hold")))
    """What becomes of an answer that breaks: `continue` lets the next target go on where the client
    is; `restart` begins anew as long as the client has seen nothing, after that the stream ends
    with the error; `hold` shows nothing before the answer is whole.
    """
    fallback_to_openai: bool = parameter(default=False)
    """Whether `openai` answers the client's own request when a turn fails, wherever it does."""
    openai: str | None = naming("models")
    """The alias of the last resort."""
    local: str | None = naming("models")
    """The alias that answers when every declared fallback has failed; none if left out."""
    connect_timeout_s: float = parameter(10.0, validator=gt(0))
    """How long a connection to a model may take, where its own table does not say."""
    first_token_timeout_s: float = parameter(120.0, validator=gt(0))
    """How long a streamed answer may take to begin."""
    stall_timeout_s: float = parameter(60.0, validator=gt(0))
    """How long a streamed answer may then be silent."""
    request_timeout_s: float = parameter(600.0, validator=gt(0))
    """How long a whole answer may take."""
    retries: int = field(default=1, validator=ge(0))
    """How often the same target is called again in one turn."""
    retry_share: float = field(default=0.2, validator=[ge(0), le(1)])
    """Retries per call that went well, in the long run."""
    backoff_s: float = field(default=0.25, validator=gt(0))
    """The longest pause before the first retry; doubled for each further one."""
    breaker_failures: int = field(default=5, validator=ge(1))
    """So many failures in a row, and a target is left alone for a while."""
    breaker_open_s: float = field(default=15.0, validator=gt(0))
    """For how long; twice as long each time that it then fails again."""
