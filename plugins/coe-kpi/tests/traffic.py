"""Random traffic, replayed by its seed: retries, fallbacks, tools, departures, feedback, jobs."""

from collections.abc import AsyncIterator, Collection
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from attrs import define

from coe_core.ephemeral import EphemeralRecords
from coe_core.identity import AttemptId, TurnId, uuid7
from coe_core.ledger import Attempt, Intent
from coe_core.message import user
from coe_core.model import Usage
from coe_core.record import Feedback, Interaction, JobRun, Provenance, Record, Settlement
from coe_core.service import Stretch
from coe_core.testing import make_attempt, make_interaction
from coe_core.testing.clock import EPOCH
from coe_core.turn import Outcome, Route, ToolRun

MODELS = ("small", "large", "판사")
GROUPS = ("research", "지원", "default")
PRICES = {"small": Decimal("0.1"), "large": Decimal("2.5")}
OUTCOMES = (
    *(Outcome(status="success", finish_reason="stop"),) * 4,
    Outcome(status="success", failure="fallback_used"),
    *(
        Outcome(status="failed", failure=failure)
        for failure in ("no_route", "target_error", "timeout", "budget_denied")
    ),
    Outcome(status="failed", error_code="invalid_field"),
    Outcome(status="cancelled"),
    Outcome(status="waiting"),
)
SPREADS_S = (30, 600, 5 * 3600, 40 * 86_400)


@define
class Traffic:
    """Makes records whose times lie around `now`, clocks that are ahead included."""

    random: Random
    now: datetime = EPOCH

    def records(self, turns: int) -> list[Record]:
        """Make some turns, and what else there is, in the order in which a log may have it."""
        made = [self.turn() for _ in range(turns)]
        others: list[Record] = [self.feedback(self.random.choice(made)) for _ in range(turns // 3)]
        others += [self.job() for _ in range(turns // 8)]
        others += [self.settlement() for _ in range(turns // 8)]
        others += self.random.sample(made, turns // 8)  # again, as a repair brings them
        mixed: list[Record] = [*made, *others]
        self.random.shuffle(mixed)
        return mixed

    def at(self) -> datetime:
        """Choose a time, mostly past."""
        spread = self.random.choice(SPREADS_S)
        return self.now + timedelta(seconds=self.random.uniform(-spread, spread / 20))

    def turn(self) -> Interaction:
        """Make a turn."""
        random, turn_id, started_at = self.random, TurnId(uuid7()), self.at()
        target = random.choice(MODELS)
        name = random.choice(("", "refunds"))
        route = Route(model=target, router=random.choice(("explicit", "default")), name=name)
        return make_interaction(
            id=turn_id,
            group=random.choice(GROUPS),
            started_at=started_at,
            ended_at=started_at + timedelta(seconds=random.uniform(0, 700)),
            new_messages=(user("x"),),
            route=random.choice((route, route, route, None)),
            attempts=tuple(self.attempt() for _ in range(random.choice((0, 1, 1, 2, 4)))),
            tool_runs=tuple(self.tool_run() for _ in range(random.choice((0, 0, 1, 3)))),
            outcome=random.choice(OUTCOMES),
            provenance=random.choice((None,) * 9 + (Provenance(format="openai"),)),
        )

    def attempt(self) -> Attempt:
        """Make an attempt; of a model without a price at times."""
        random, model = self.random, self.random.choice(MODELS)
        inward, outward = random.randrange(5000), random.randrange(2000)
        usage = Usage(
            input_tokens=inward,
            output_tokens=outward,
            cached_input_tokens=random.randrange(inward + 1),
            estimated=random.random() < 0.2,
        )
        price = PRICES.get(model)
        return make_attempt(
            purpose=random.choice(("chat", "summary")),
            model=model,
            started_at=self.now,
            duration_s=random.random(),
            usage=usage,
            cost_usd=None if price is None else price * (inward + outward) / 10**6,
            outcome=random.choice(("ok", "ok", "failed", "cancelled")),
        )

    def tool_run(self) -> ToolRun:
        """Make a tool run."""
        code = self.random.choice((None, None, "tool_failed"))
        return ToolRun(id=uuid7(), tool="calculator", arguments={}, error_code=code)

    def feedback(self, turn: Interaction) -> Feedback:
        """Say something of a turn, maybe before the log has it."""
        random = self.random
        return Feedback(
            id=uuid7(),
            turn_id=turn.id,
            group=turn.group,
            rating=random.choice((-1, 0, 1)),
            route=random.choice((None, None, *MODELS, "refunds")),
            label=random.choice((None, None, "wrong_route", "slow")),
            actor="k",
            at=self.at(),
        )

    def job(self) -> JobRun:
        """Make a job's run."""
        at = self.at()
        attempts = tuple(self.attempt() for _ in range(self.random.randrange(3)))
        return JobRun(
            id=uuid7(),
            job="summaries",
            group=self.random.choice(GROUPS),
            started_at=at,
            ended_at=at,
            attempts=attempts,
            outcome="ok",
        )

    def settlement(self) -> Settlement:
        """Settle an attempt of a process that died."""
        return Settlement(
            intent=Intent(
                attempt_id=AttemptId(uuid7()),
                owner_id=uuid7(),
                group=self.random.choice(GROUPS),
                model=self.random.choice(MODELS),
                purpose="chat",
                reserved_usd=Decimal(self.random.randrange(10**6)) / 10**6,
                at=self.at(),
            )
        )


class Paged(EphemeralRecords):
    """Hands records out in stretches of a size, a repaired one again."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.log: list[Record] = []

    async def follow(
        self, cursor: str = "", *, without: Collection[str] = ()
    ) -> AsyncIterator[Stretch]:
        """Read on."""
        start = int(cursor or 0)
        while some := tuple(self.log[start : start + self.size]):
            start += len(some)
            yield Stretch(records=some, cursor=str(start))
