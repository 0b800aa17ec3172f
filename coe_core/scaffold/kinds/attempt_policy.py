"""Wait as long as an overloaded upstream asks for, and try it once more."""

from attrs import frozen

from coe_core import Failure, Retry, Turn, hookimpl
from coe_core.compose import Context
from coe_core.error import UpstreamOverloaded


@frozen(kw_only=True)
class Settings:
    longest_s: float = 20.0
    """An upstream that asks for a longer pause is not waited for."""


@frozen
class ExampleAttemptPolicy:
    longest_s: float = 20.0
    name: str = "example"

    async def after_failure(self, turn: Turn, failure: Failure) -> Retry | None:
        wait_s = failure.error.retry_after_s or 1.0
        overloaded = isinstance(failure.error, UpstreamOverloaded)
        if failure.started or not overloaded or wait_s > self.longest_s:
            return None
        again = sum(attempt.model == failure.model for attempt in failure.attempts) > 1
        return None if again else Retry(after_s=wait_s)


@frozen
class ExamplePlugin:
    settings: Settings

    @hookimpl
    def coe_attempt_policies(self, ctx: Context) -> list[ExampleAttemptPolicy]:
        return [ExampleAttemptPolicy(self.settings.longest_s)]
