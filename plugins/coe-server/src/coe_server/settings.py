"""The server's settings: `[plugins.server]`."""

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from coe_core.http import ITEMS_LIMIT


@frozen(kw_only=True)
class Settings:
    """Read once, at the start: a change needs a restart."""

    host: str = "127.0.0.1"
    """The address to listen on. One beyond this machine needs a key to exist."""
    port: int = field(default=8420, validator=and_(ge(0), le(65535)))
    """The port to listen on; 0 lets the system choose."""
    workers: int = field(default=1, validator=ge(1))
    """How many processes answer."""
    allowed_hosts: tuple[str, ...] = ()
    """Names that the Host header may carry beside those of loopback, while no key exists."""
    body_limit_bytes: int = field(default=32 * 1024 * 1024, validator=ge(1))
    """A longer body is refused with 413."""
    body_items_limit: int = field(default=ITEMS_LIMIT, validator=ge(1))
    """A body with more lists and objects, or 25 times as many other values, is refused with 413."""
    head_limit_bytes: int = field(default=64 * 1024, validator=ge(1024))
    """A longer request line with its headers is refused with 431."""
    head_timeout_s: float = field(default=10.0, validator=gt(0))
    """A connection whose request line and headers take longer is closed with 408."""
    body_timeout_s: float = field(default=60.0, validator=gt(0))
    """A body that takes longer is refused with 408."""
    turns_limit: int = field(default=2000, validator=ge(1))
    """How many turns run at once in each worker, at most; fewer while it cannot keep up."""
    queue_limit: int = field(default=1000, validator=ge(0))
    """How many more may wait; then the group that has most of them is refused, with 429."""
    queue_timeout_s: float = field(default=5.0, validator=gt(0))
    """Who has waited this long is refused, with 429."""
    send_timeout_s: float = field(default=120.0, validator=gt(0))
    """A stream of which the client takes nothing for this long is ended."""
    idle_timeout_s: int = field(default=75, validator=ge(1))
    """A connection without a request is closed after this time."""
    drain_timeout_s: float = field(default=30.0, validator=ge(0))
    """How long running turns may go on after SIGTERM."""
    keep_alive_s: float = field(default=15.0, validator=gt(0))
    """A stream that is silent for this long gets a comment, so that no proxy closes it."""
