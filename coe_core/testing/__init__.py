"""What plugin authors test with: a contract suite per extension point and service, strategies,
and parts to build tests from.

```python
class TestKeywordRouter(RouterContract):
    def make(self) -> KeywordRouter:
        return KeywordRouter({"invoice": "large"})
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coe_core.testing.clock import ManualClock
    from coe_core.testing.contracts.agent import AgentContract, AgentProtocolContract
    from coe_core.testing.contracts.alert_rule import AlertRuleContract
    from coe_core.testing.contracts.attempt import AttemptPolicyContract, ResiliencePolicyContract
    from coe_core.testing.contracts.authenticator import AuthenticatorContract
    from coe_core.testing.contracts.caller import CallerContract, EmbedderContract
    from coe_core.testing.contracts.check import CheckContract
    from coe_core.testing.contracts.cli_command import CliCommandContract
    from coe_core.testing.contracts.clock import ClockContract
    from coe_core.testing.contracts.database import DatabaseContract
    from coe_core.testing.contracts.experiment import ExperimentContract
    from coe_core.testing.contracts.guard import GuardContract
    from coe_core.testing.contracts.http_route import HttpRouteContract
    from coe_core.testing.contracts.job import JobContract
    from coe_core.testing.contracts.journal import (
        JournalContract,
        RecordReaderContract,
        SessionStoreContract,
    )
    from coe_core.testing.contracts.knowledge import (
        KnowledgeIndexContract,
        KnowledgeStoreContract,
    )
    from coe_core.testing.contracts.law import Contract, law
    from coe_core.testing.contracts.monitor import MonitorContract
    from coe_core.testing.contracts.panel import PanelContract
    from coe_core.testing.contracts.plugin import PluginContract
    from coe_core.testing.contracts.promotion import PromotionPolicyContract
    from coe_core.testing.contracts.prompt import PromptPackContract
    from coe_core.testing.contracts.provider import ModelProviderContract
    from coe_core.testing.contracts.reranker import RerankerContract
    from coe_core.testing.contracts.retriever import RetrieverContract
    from coe_core.testing.contracts.router import RouterContract
    from coe_core.testing.contracts.scheduler import SchedulerContract
    from coe_core.testing.contracts.segment_job import SegmentJobContract
    from coe_core.testing.contracts.sink import (
        AlertSinkContract,
        EventSinkContract,
        MetricSinkContract,
    )
    from coe_core.testing.contracts.state import StateStoreContract
    from coe_core.testing.contracts.summarizer import SummarizerContract
    from coe_core.testing.contracts.tool import ToolContract
    from coe_core.testing.host import deployment, entry_point
    from coe_core.testing.knowledge import MemoryKnowledgePlugin, MemoryKnowledgeStore
    from coe_core.testing.memory import MemoryStateStore
    from coe_core.testing.record import make_attempt, make_interaction
    from coe_core.testing.scripted import Fault, ScriptedProvider
    from coe_core.testing.standing import StandingDeployment
    from coe_core.testing.turn import make_turn, scripted_application

__all__ = [
    "AgentContract",
    "AgentProtocolContract",
    "AlertRuleContract",
    "AlertSinkContract",
    "AttemptPolicyContract",
    "AuthenticatorContract",
    "CallerContract",
    "CheckContract",
    "CliCommandContract",
    "ClockContract",
    "Contract",
    "DatabaseContract",
    "EmbedderContract",
    "EventSinkContract",
    "ExperimentContract",
    "Fault",
    "GuardContract",
    "HttpRouteContract",
    "JobContract",
    "JournalContract",
    "KnowledgeIndexContract",
    "KnowledgeStoreContract",
    "ManualClock",
    "MemoryKnowledgePlugin",
    "MemoryKnowledgeStore",
    "MemoryStateStore",
    "MetricSinkContract",
    "ModelProviderContract",
    "MonitorContract",
    "PanelContract",
    "PluginContract",
    "PromotionPolicyContract",
    "PromptPackContract",
    "RecordReaderContract",
    "RerankerContract",
    "ResiliencePolicyContract",
    "RetrieverContract",
    "RouterContract",
    "SchedulerContract",
    "ScriptedProvider",
    "SegmentJobContract",
    "SessionStoreContract",
    "StandingDeployment",
    "StateStoreContract",
    "SummarizerContract",
    "ToolContract",
    "deployment",
    "entry_point",
    "law",
    "make_attempt",
    "make_interaction",
    "make_turn",
    "scripted_application",
]

# Imported when they are asked for: pytest and Hypothesis load this package in every run, also of
# tests that have nothing to do with CoE.
_HOMES = {
    "ManualClock": "clock",
    "AgentContract": "contracts.agent",
    "AgentProtocolContract": "contracts.agent",
    "AlertRuleContract": "contracts.alert_rule",
    "AttemptPolicyContract": "contracts.attempt",
    "ResiliencePolicyContract": "contracts.attempt",
    "AuthenticatorContract": "contracts.authenticator",
    "CallerContract": "contracts.caller",
    "EmbedderContract": "contracts.caller",
    "CheckContract": "contracts.check",
    "CliCommandContract": "contracts.cli_command",
    "ClockContract": "contracts.clock",
    "DatabaseContract": "contracts.database",
    "ExperimentContract": "contracts.experiment",
    "GuardContract": "contracts.guard",
    "HttpRouteContract": "contracts.http_route",
    "JobContract": "contracts.job",
    "JournalContract": "contracts.journal",
    "RecordReaderContract": "contracts.journal",
    "SessionStoreContract": "contracts.journal",
    "KnowledgeIndexContract": "contracts.knowledge",
    "KnowledgeStoreContract": "contracts.knowledge",
    "Contract": "contracts.law",
    "law": "contracts.law",
    "MonitorContract": "contracts.monitor",
    "PanelContract": "contracts.panel",
    "PluginContract": "contracts.plugin",
    "PromotionPolicyContract": "contracts.promotion",
    "PromptPackContract": "contracts.prompt",
    "ModelProviderContract": "contracts.provider",
    "RerankerContract": "contracts.reranker",
    "RetrieverContract": "contracts.retriever",
    "RouterContract": "contracts.router",
    "SchedulerContract": "contracts.scheduler",
    "SegmentJobContract": "contracts.segment_job",
    "AlertSinkContract": "contracts.sink",
    "EventSinkContract": "contracts.sink",
    "MetricSinkContract": "contracts.sink",
    "StateStoreContract": "contracts.state",
    "SummarizerContract": "contracts.summarizer",
    "ToolContract": "contracts.tool",
    "deployment": "host",
    "entry_point": "host",
    "MemoryKnowledgePlugin": "knowledge",
    "MemoryKnowledgeStore": "knowledge",
    "MemoryStateStore": "memory",
    "Fault": "scripted",
    "ScriptedProvider": "scripted",
    "StandingDeployment": "standing",
    "make_attempt": "record",
    "make_interaction": "record",
    "make_turn": "turn",
    "scripted_application": "turn",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
