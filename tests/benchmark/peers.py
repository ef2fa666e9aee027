"""The clients that batchroute is compared with: one client, one run, one line of JSON.

Each sends `--rows` chat requests of about 1 KB with `--concurrency` in flight and keeps text and usage of every
answer. CPU and memory are those of the timed part: after imports, without reading or writing any file.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MODEL = "benchmark-model"
PROMPTS: list[str] = []  # made before the clock starts
WORDS = (  # noqa: SIM905 - a sentence, not a list
    "explain to a careful reader how these figures were found what they leave out and why a model that counts "
    "tokens for every row of large files would route some questions elsewhere when prices change over night"
).split()
WORDS_PER_PROMPT = 150  # about 860 characters
WARM_UP_ROWS = 10  # imports, and whatever else is done once

# No peer may look anything up: they know nothing but the loopback server.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", TELEMETRY_ENABLED="false", CURATOR_VIEWER="0", NO_PROXY="*")


def prompt(row: int) -> str:
    """Row for row another one, so that routers tell them apart."""
    return f"row {row}: " + " ".join(random.Random(row).choices(WORDS, k=WORDS_PER_PROMPT))  # noqa: S311


def messages(row: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPTS[row]}]


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def pool(rows: int, concurrency: int, ask: Callable[[int], Awaitable[Any]]) -> list[Any]:
    """Workers that take row numbers from one iterator."""
    numbers = iter(range(rows))
    kept: list[Any] = []

    async def work() -> None:
        kept.extend([await ask(number) for number in numbers])

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return kept


async def plain(url: str, rows: int, concurrency: int) -> list[Any]:
    """What a good engineer writes in ten minutes."""
    import aiohttp  # noqa: PLC0415 - each client imports only its own

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": "Bearer x"}) as session:

        async def ask(row: int) -> tuple[str, int]:
            body = {"model": MODEL, "messages": messages(row), "max_tokens": 512}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                response.raise_for_status()
                answer = await response.json()
                return answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]

        return await pool(rows, concurrency, ask)


async def openai(url: str, rows: int, concurrency: int) -> list[Any]:
    from openai import AsyncOpenAI  # noqa: PLC0415

    async with AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:

        async def ask(row: int) -> tuple[str | None, int]:
            answer = await client.chat.completions.create(model=MODEL, messages=messages(row), max_tokens=512)  # type: ignore[arg-type, unused-ignore]
            return answer.choices[0].message.content, answer.usage.completion_tokens if answer.usage else 0

        return await pool(rows, concurrency, ask)


async def litellm(url: str, rows: int, concurrency: int) -> list[Any]:
    from litellm import acompletion  # noqa: PLC0415

    async def ask(row: int) -> tuple[str, int]:
        answer = await acompletion(f"openai/{MODEL}", messages(row), api_base=url, api_key="x", max_tokens=512)
        return answer.choices[0].message.content, answer.usage.completion_tokens

    return await pool(rows, concurrency, ask)


def curator(url: str, rows: int, concurrency: int) -> list[Any]:
    """It starts a loop of its own, and caches on disk, which is part of what it is for."""
    import litellm as tokenizers  # noqa: PLC0415 - brings the one that would be fetched from the network

    os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(tokenizers.__file__).parent / "litellm_core_utils/tokenizers")
    os.environ["OPENAI_API_KEY"] = "x"
    from bespokelabs.curator import LLM  # noqa: PLC0415

    limits = {
        "max_concurrent_requests": concurrency,
        "max_requests_per_minute": 10**9,
        "max_tokens_per_minute": 10**12,
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CURATOR_CACHE_DIR"] = folder
        params = {"base_url": url, "api_key": "x", **limits}
        asked = LLM(model_name=MODEL, backend="openai", backend_params=params)
        answers = asked([PROMPTS[row] for row in range(rows)])
        return list(getattr(answers, "dataset", answers))


CLIENTS = {"aiohttp": plain, "openai": openai, "litellm": litellm, "curator": curator}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    given = parser.parse_args()
    client = CLIENTS[given.client]
    PROMPTS.extend(map(prompt, range(given.rows)))
    if asyncio.iscoroutinefunction(client):
        asyncio.run(measure_async(client, given))
    else:
        client(given.url, WARM_UP_ROWS, 1)
        before = Timer()
        report(before, client(given.url, given.rows, given.concurrency), given.rows)


async def measure_async(client: Callable[..., Awaitable[list[Any]]], given: argparse.Namespace) -> None:
    await client(given.url, WARM_UP_ROWS, 1)
    before = Timer()
    report(before, await client(given.url, given.rows, given.concurrency), given.rows)


class Timer:
    """What the process had taken when it was made."""

    def __init__(self) -> None:
        gc.collect()
        self.wall_s, self.cpu_s = time.perf_counter(), cpu_s()


def report(before: Timer, kept: list[Any], rows: int) -> NoReturn:
    """Ends the process at once: some peers leave tasks behind that no loop gets rid of."""
    figures = {
        "cpu_s": cpu_s() - before.cpu_s,
        "wall_s": time.perf_counter() - before.wall_s,
        "peak_mb": peak_mb(),
    }
    assert len(kept) == rows, f"{len(kept)} answers to {rows} rows"
    print(json.dumps(figures), flush=True)
    os._exit(0)


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
