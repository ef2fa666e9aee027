"""Counters of a server, and their text for Prometheus. Knows how requests ended, not the requests."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from batchroute.types import Result

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters since the start; `denied` by code, `disconnected` clients hung up before their answer."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()  # by route, status
        self.errors: Counter[tuple[str, str]] = Counter()  # by route, type
        self.tokens: Counter[tuple[str, str]] = Counter()  # by route, kind
        self.attempts: Counter[str] = Counter()
        self.cost_unknown: Counter[str] = Counter()
        self.cost_usd = dict.fromkeys(endpoints, 0.0)
        self.seconds = {name: [0] * (len(SECONDS) + 1) for name in self.cost_usd}
        self.seconds_sum = dict.fromkeys(self.cost_usd, 0.0)
        self.denied: Counter[str] = Counter()
        self.disconnected = 0

    def add(self, result: Result, took_s: float) -> None:
        """One request that ended, `took_s` after it came in."""
        name = str(result.route)
        self.requests[name, result.status] += 1
        self.attempts[name] += result.attempts
        self.seconds[name][bisect_left(SECONDS, took_s)] += 1
        self.seconds_sum[name] += took_s
        self.tokens[name, "prompt"] += result.prompt_tokens or 0
        self.tokens[name, "completion"] += result.completion_tokens or 0
        if result.error_type is not None:
            self.errors[name, result.error_type] += 1
        if result.cost_usd is not None:
            self.cost_usd[name] += result.cost_usd
        elif result.status == "ok":
            self.cost_unknown[name] += 1


def exposition(metrics: Metrics, gauges: Mapping[str, float], in_flight: Mapping[str, int]) -> str:
    """Prometheus' text format; `gauges` by name, `in_flight` by route."""
    return "\n".join(_lines(metrics, gauges, in_flight)) + "\n"


def _lines(metrics: Metrics, gauges: Mapping[str, float], in_flight: Mapping[str, int]) -> Iterator[str]:
    yield from _family("requests_total", "counter", ("route", "status"), metrics.requests)
    yield from _family("errors_total", "counter", ("route", "type"), metrics.errors)
    yield from _family("tokens_total", "counter", ("route", "kind"), metrics.tokens)
    yield from _family("attempts_total", "counter", ("route",), metrics.attempts)
    yield from _family("cost_usd_total", "counter", ("route",), metrics.cost_usd)
    yield from _family("cost_unknown_total", "counter", ("route",), metrics.cost_unknown)
    yield from _family("turned_away_total", "counter", ("code",), metrics.denied)
    yield from _family("clients_gone_total", "counter", (), {(): metrics.disconnected})
    yield from _family("in_flight", "gauge", ("route",), in_flight)
    for name, value in gauges.items():
        yield from _family(name, "gauge", (), {(): value})
    yield from _histogram(metrics)


def _family(name: str, kind: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Iterator[str]:
    """One line for each of `values`, whose keys are the texts of `labels`; a bare text is that of the only one."""
    yield f"# TYPE batchroute_{name} {kind}"
    for key, value in sorted(values.items()):
        texts = (key,) if isinstance(key, str) else key
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in zip(labels, texts, strict=True))
        yield f"batchroute_{name}{{{pairs}}} {value!r}" if pairs else f"batchroute_{name} {value!r}"


def _histogram(metrics: Metrics) -> Iterator[str]:
    name = "batchroute_request_seconds"
    yield f"# TYPE {name} histogram"
    for route, counts in metrics.seconds.items():
        below = 0
        for bound, count in zip((*map(repr, SECONDS), "+Inf"), counts, strict=True):
            below += count
            yield f'{name}_bucket{{route="{route}",le="{bound}"}} {below}'
        yield f'{name}_sum{{route="{route}"}} {metrics.seconds_sum[route]!r}'
        yield f'{name}_count{{route="{route}"}} {below}'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
