"""A writer is stopped while it holds the log's lock: SIGSTOP, a debugger, a frozen container."""

from .conftest import Run
from .size import sample_or_all


@sample_or_all("stops", sample=3, full=100)
def test_others_refuse_and_go_on_by_themselves(prove: Run, stops: int) -> None:
    seen = prove("stopped", "--seed", "20261122", "--stops", str(stops))
    assert seen["stops"] == stops
