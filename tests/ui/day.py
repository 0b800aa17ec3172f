"""Writes a day of traffic into a data folder, so that the console has something to show.

Run by `conftest.py` where CoE is installed: `python day.py FOLDER GROUP`.
"""

import asyncio
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

from coe_fallback.breaker import Breaker
from coe_fallback.exchange import PREFIX

from coe_core.codec import unstructure
from coe_core.host import Host
from coe_core.identity import SessionId, TurnId, uuid7
from coe_core.message import assistant, user
from coe_core.model import Usage
from coe_core.record import Interaction
from coe_core.service import Clock, Journal, StateStore
from coe_core.testing import make_attempt, make_interaction
from coe_core.turn import Candidate, Outcome, Route, ToolRun

MODELS = {"small": ("0.15", "0.60"), "large": ("2.50", "10.00"), "local": ("0", "0")}
FAILURES = ("target_error", "timeout", "fallback_used", "budget_denied")
HOURS, TURNS = 47, 500


def turn(random: Random, at: datetime, group: str) -> Interaction:
    model = random.choices([*MODELS], (6, 2, 3))[0]
    failure = random.choice(FAILURES) if random.random() < 0.04 else None
    stood_in = failure == "fallback_used"
    inward, outward = random.randrange(200, 4000), random.randrange(20, 900)
    prices = [Decimal(price) for price in MODELS[model]]
    turn_id, took_s = TurnId(uuid7(int(at.timestamp() * 1000))), random.uniform(0.4, 6)
    attempt = make_attempt(
        model=model,
        started_at=at,
        duration_s=took_s,
        first_token_s=took_s / 4,
        usage=Usage(input_tokens=inward, output_tokens=outward),
        cost_usd=(prices[0] * inward + prices[1] * outward) / 10**6,
        outcome="failed" if failure in ("target_error", "timeout") else "ok",
    )
    candidates = (Candidate(target=model, score=0.83), Candidate(target="local", score=0.41))
    tools = (ToolRun(id=uuid7(), tool="calculator", arguments={"expression": "2*3"}, result="6"),)
    return make_interaction(
        id=turn_id,
        group=group,
        session=SessionId(f"s-{random.randrange(90):03d}"),
        started_at=at,
        ended_at=at + timedelta(seconds=took_s),
        new_messages=(user("환불 규정이 어떻게 되나요?"),),
        route=Route(
            model=model,
            router=random.choice(("semantic", "rules")),
            name=random.choice(("refunds", "billing", "smalltalk")),
            reason="near to what refunds are asked for",
            confidence=0.83,
            candidates=candidates,
        ),
        attempts=(attempt,),
        tool_runs=tools if random.random() < 0.2 else (),
        answer=(assistant("구매 후 7일 이내에 환불할 수 있습니다."),),
        outcome=Outcome(
            status="failed" if failure and not stood_in else "success",
            failure=failure,
            finish_reason=None if failure and not stood_in else "stop",
        ),
    )


async def main(folder: Path, group: str) -> None:
    host = await Host.start(folder / "coe.toml", data_dir=folder / "coe-data")
    journal, now = host.application.need(Journal), host.application.need(Clock).now()
    random = Random(7)
    ages = sorted((HOURS * random.betavariate(1, 1.6) for _ in range(TURNS)), reverse=True)
    for age in ages:
        await journal.append(turn(random, now - timedelta(hours=age), group))
    for alias, failures in (("large", 9), ("대형", 5)):
        until = now + timedelta(minutes=failures)
        breaker = Breaker(failures=failures, openings=1, until=until)
        await host.application.need(StateStore).put(f"{PREFIX}{alias}", unstructure(breaker))
    await host.close()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
