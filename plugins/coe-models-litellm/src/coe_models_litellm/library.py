"""litellm itself: imported once, late, in a thread, and told to keep quiet."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from typing import Any

from coe_core.error import StartRefused
from coe_models_litellm import release

ENVIRONMENT = {
    # Else it fetches its price map and its table of headers from the network.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    # Else it reads a .env file into the environment of the whole process.
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_TELEMETRY": "False",
}


def refuse_bad_release() -> None:
    """Raise `StartRefused` for a release that must not be imported."""
    finding = release.finding(release.installed())
    if not finding.ok:
        raise StartRefused(f"{finding.text}. {finding.mend}")


async def load() -> Any:
    """Import litellm, which takes seconds the first time. Raises `StartRefused`."""
    refuse_bad_release()
    return await asyncio.to_thread(_import)


def _import() -> Any:
    os.environ.update(ENVIRONMENT)
    litellm: Any = importlib.import_module("litellm")
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.disable_hf_tokenizer_download = True
    # For embeddings it takes our `max_retries=0` for none given, and then this.
    litellm.DEFAULT_MAX_RETRIES = 0
    # What it logs of a failure may quote prompts; failures come to us as exceptions.
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL + 1)
    return litellm


async def close(litellm: Any) -> None:
    """Close its connections and stop its background work."""
    cleanup = importlib.import_module("litellm.llms.custom_httpx.async_client_cleanup")
    worker = importlib.import_module("litellm.litellm_core_utils.logging_worker")
    await cleanup.close_litellm_async_clients()
    litellm.in_memory_llm_clients_cache.flush_cache()
    await worker.GLOBAL_LOGGING_WORKER.stop()
