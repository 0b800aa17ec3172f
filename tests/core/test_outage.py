"""What the log is told of something that fails for a while."""

from typing import Any

from loguru import logger

from coe_core.outage import Outage


def test_outage_that_lasts_is_told_each_minute() -> None:
    now_s, told = 0.0, list[Any]()
    sink = logger.add(lambda message: told.append((now_s, message.record["message"])))
    outage = Outage("broken", "mended", lambda: now_s)
    for second in range(150):
        now_s = float(second)
        outage.met("no room")
        outage.passed()
    for second in range(150, 170):
        now_s = float(second)
        outage.passed()
    outage.met("no room again")
    logger.remove(sink)
    assert told == [
        (0, "broken"),
        (60, "broken"),
        (120, "broken"),
        (152, "mended"),
        (169, "broken"),
    ]
