"""What is known of providers beside their prices: where an API begins, what it refuses, which models leave.

Knows names and addresses; asks nobody. What is not listed is not judged.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# What a request is sent to, under the address of the API: copied together with it from a page of documentation.
_REQUEST_PATHS = ("/chat/completions", "/completions", "/responses", "/messages", "/embeddings")

# Where chat completions begin. Not here, as both forms work or each account has its own: DeepSeek, Perplexity,
# Azure, Bedrock, gateways, servers on this machine but Ollama.
_API_PATHS = {
    "api.openai.com": "/v1",
    "api.groq.com": "/openai/v1",
    "openrouter.ai": "/api/v1",
    "api.together.xyz": "/v1",
    "api.together.ai": "/v1",
    "api.mistral.ai": "/v1",
    "api.x.ai": "/v1",
    "api.cerebras.ai": "/v1",
    "api.fireworks.ai": "/inference/v1",
    "api.moonshot.ai": "/v1",
    "api.moonshot.cn": "/v1",
    "integrate.api.nvidia.com": "/v1",
    "generativelanguage.googleapis.com": "/v1beta/openai",
    "dashscope.aliyuncs.com": "/compatible-mode/v1",
    "dashscope-intl.aliyuncs.com": "/compatible-mode/v1",
}
_WITH_KEYS = ("api.anthropic.com", "api.deepseek.com", "api.perplexity.ai")
_OLLAMA_PORT = 11434

# OpenAI's reasoning models and all since GPT-5 answer 400 to `max_tokens`; gpt-oss is served by others.
_WITHOUT_MAX_TOKENS = re.compile(r"o\d|gpt-([5-9]|\d\d)")
# These take no temperature but 1; later ones do, where they are told not to reason.
_WITHOUT_TEMPERATURE = re.compile(r"(o\d(-mini|-pro)?|gpt-5(-mini|-nano|-pro)?)(-\d{4}-\d{2}-\d{2})?")
_OPENAI_HOSTS = ("api.openai.com", ".openai.azure.com")

# As OpenAI had announced it in November 2026: the last day, and what to move to.
_LEAVING = {
    "o4-mini": (date(2026, 10, 23), "gpt-6.1-sol"),
    "gpt-5": (date(2026, 12, 11), "gpt-6.1-sol"),
    "gpt-4o-mini": (date(2027, 1, 14), "gpt-6-luna"),
    "gpt-4.1-mini": (date(2027, 1, 14), "gpt-6-luna"),
}
_SOON = timedelta(days=92)


def likely_address(base_url: str) -> str | None:
    """The address that was probably meant; None where nothing speaks against the one that is written."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    for request_path in _REQUEST_PATHS:
        path = path.removesuffix(request_path)
    host = parts.hostname or ""
    known = "/v1" if parts.port == _OLLAMA_PORT and not path else _API_PATHS.get(host)
    meant = known if known is not None and not path.startswith(known) else path
    return None if meant == parts.path.rstrip("/") else parts._replace(path=meant).geturl()


def wants_key(base_url: str) -> bool:
    """Whether the address is one of a known provider's, who all want a key."""
    return (urlsplit(base_url).hostname or "") in {*_API_PATHS, *_WITH_KEYS}


def refused_params(model: str, base_url: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of the params of chat completions those that the model's provider answers 400 to, and what to do."""
    host = urlsplit(base_url).hostname or ""
    if not host.endswith(_OPENAI_HOSTS):
        return []
    found = []
    if params.get("max_tokens") is not None and _WITHOUT_MAX_TOKENS.match(model):
        found.append(("max_tokens", "write max_completion_tokens"))
    if params.get("temperature") not in {None, 1} and _WITHOUT_TEMPERATURE.fullmatch(model):
        found.append(("temperature", "remove it: only its default, 1, is taken"))
    return found


def leaving(model: str, today: date) -> str | None:
    """That the model is gone, or will be within a quarter, and which one to move to, in words."""
    last_day, successor = _LEAVING.get(model.removeprefix("openai/"), (None, ""))
    if last_day is None or last_day - today > _SOON:
        return None
    return f"{'went' if last_day < today else 'goes'} off on {last_day}; its successor is {successor}"
