"""What a run did and cost, as one value: every figure of report.json, and the file itself.

Knows names, units and how the file is written; how the figures come about is decided by build. None stands for
unknown, never 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from batchroute.errors import RunFault
from batchroute.report.lanes import LaneReport  # noqa: TC001 - msgspec reads it
from batchroute.report.quality import Quality  # noqa: TC001 - the same
from batchroute.report.ties import Tie  # noqa: TC001 - the same
from batchroute.store.files import AS_UMASK_SAYS, decoding, saving, unreadable, write_whole
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal
    from pathlib import Path

# `complete` is what the exit code 0 is. `refusals`: every row has ended, and more of them were refused than
# limits.ok_if_refused lets pass. `incomplete`: rows failed, or are left.
State: TypeAlias = Literal["running", "complete", "refusals", "incomplete"]


class Latency(msgspec.Struct, frozen=True):
    """Seconds from send to last byte of the final attempt, over the ok rows of an endpoint."""

    p50: float
    p95: float
    p99: float


class ModelBill(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that one model of an endpoint was asked for; rows refused before routing stand in none."""

    route: str
    model: str | None
    ok: int
    refused: int
    failed: int
    attempts: int
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None


class FinishCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How the answers of an endpoint ended; the last four counts are of the `answered` ones, and may overlap.

    `length`: cut at the token bound; `content_filter`: cut or emptied by the provider's filter; `refusal`: the
    model refused in words of its own; `empty`: neither text nor tool calls.
    """

    answered: int = 0
    length: int = 0
    content_filter: int = 0
    refusal: int = 0
    empty: int = 0


class CostBand(msgspec.Struct, frozen=True):
    """A prediction in USD; `mid` is the best guess."""

    low: float
    mid: float
    high: float


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    """What the last `plan` before the first answer said, of so many rows; None stands for unknown."""

    rows: int
    threshold: float | None
    strong_fraction: float | None
    cost_usd: CostBand | None
    time_s: float


class EngineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How the last run by workers went: those that died, how busy the driver was, what deaths may cost.

    `paid_twice_bound`: at most so many rows were in flight at workers that died, and may be billed twice.
    """

    use: str
    workers: int
    workers_lost: int
    shards: int
    shards_done: int
    leases_per_s: float
    driver_cpu_s: float
    paid_twice_bound: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """SPEC's report.json, key by key; money in USD, times in seconds.

    `unsealed` of the rows that are done stand in a journal only, as after a crash; `failed_cost_usd` includes what
    rows cost that a stop left without an answer, which are among `remaining`.

    `name` is the job's, `run` the directory's. `rows` and `remaining` are None until the whole input is known.
    `score_histogram` counts rows in 100 equal bins over [0, 1], the last one closed; `score_quantiles` maps "p0",
    "p10" ... "p100" to scores. `reused` rows took their answer from another run, tokens and all, and cost nothing;
    `budget_rows` went weak to keep the budget, `finish_rows` to the other side as an answer was cut or refused.
    `simulated` names the endpoints whose answers, and so whose money, are made up. `service_tiers` and
    `other_models` count answers by tier, and by model where that is not the one asked for; they, `finish`,
    `mean_output_tokens` and `latency_s` are by endpoint, as is the `route` of a bill.
    `max_cost_usd` is the job's limit, which `total_usd` and `unconfirmed_usd` count against. `lanes`: how each was
    last seen. `builtin_router`: the scores are those of the model that ships. `stopped`: why the last run ended
    early, and what to do about it. `tie`: the rows for which more went strong than were asked for.
    `pilot_cost_usd`: answers that are no row's result, and the judge's, which are `judge_cost_usd`; `quality` is
    what the pilot found. `engine`: of a run by several workers.
    """

    name: str
    run: str
    state: State
    simulated: list[str] = []
    rows: int | None
    ok: int
    refused: int
    failed: int
    unsealed: int = 0
    remaining: int | None
    strong_rows: int
    weak_rows: int
    strong_fraction: float | None
    threshold: float | None
    tie: Tie | None = None
    cost_usd: float | None
    strong_cost_usd: float | None
    weak_cost_usd: float | None
    failed_cost_usd: float | None
    router_cost_usd: float | None
    pilot_cost_usd: float | None = 0.0
    judge_cost_usd: float | None = 0.0
    total_usd: float | None
    unconfirmed_usd: float | None
    max_cost_usd: float | None = None
    cost_unknown_rows: int
    all_strong_usd: float | None
    all_weak_usd: float | None
    savings_usd: float | None
    savings_fraction: float | None
    saved_routing_usd: float | None = None
    saved_reuse_usd: float | None = None
    saved_delivery_usd: float | None = None
    saved_caching_usd: float | None = None
    mean_output_tokens: dict[str, float | None] = {}
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    attempts: int
    retries: int
    reused: int
    budget_rows: int
    finish_rows: int = 0
    errors: dict[str, int]
    finish: dict[str, FinishCounts] = {}
    service_tiers: dict[str, dict[str, int]] = {}
    other_models: dict[str, dict[str, int]] = {}
    latency_s: dict[str, Latency | None]
    wall_s: float | None
    rows_per_s: float | None
    score_histogram: list[int]
    score_quantiles: dict[str, float]
    win_mass_kept: float | None
    models: list[ModelBill]
    predicted: Predicted | None = None
    builtin_router: bool = False
    lanes: dict[str, LaneReport] = {}
    stopped: list[str] = []
    quality: Quality | None = None
    engine: EngineFigures | None = None


def known_float(usd: Decimal | None) -> float | None:
    """As report.json has an amount."""
    return None if usd is None else float(usd)


def ratio(part: float | None, whole: float | None) -> float | None:
    """None where either is unknown, or there is no whole."""
    return None if part is None or not whole else part / whole


def sum_if_known(amounts: Iterable[float | None]) -> float | None:
    """The sum of all of them; None where one is unknown."""
    total = 0.0
    for usd in amounts:
        if usd is None:
            return None
        total += usd
    return total


def state_of_ended(refused: int, done: int, ok_if_refused: float) -> State:
    """Of a run whose rows are all `done`, answered or `refused`, where this share of refusals passes as success.

    The share is divided, not multiplied: 29 of 100 is 0.29 to the bit, while 0.29 * 100 is 28.999999999999996.
    """
    return "complete" if refused == 0 or refused / done <= ok_if_refused else "refusals"


def json_text(figures: object) -> bytes:
    """A value as report.json and every command's --json have it: indented, NaN and infinity as null."""
    return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"


def read_report(run: Path) -> Report | None:
    """The report that stands in the directory `run`, None where there is none yet."""
    path = RunLayout(run).report
    try:
        return msgspec.json.decode(path.read_bytes(), type=Report)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as denied:
        raise unreadable(path, denied) from denied
    except msgspec.DecodeError as broken:
        raise RunFault(f"{path}: not a report of this version of batchroute ({broken}); move it away") from broken


def read_plan(run: Path) -> Predicted | None:
    """What the last `plan` in the directory `run` foretold, None where there was none."""
    path = RunLayout(run).plan
    if not path.exists():
        return None
    with decoding(path, "remove it"):
        return msgspec.json.decode(path.read_bytes(), type=Predicted)


def write_plan(run: Path, predicted: Predicted) -> None:
    """Keeps what a plan foretells, for the report to show beside what came."""
    with saving(run):
        write_whole(RunLayout(run).plan, json_text(predicted), mode=AS_UMASK_SAYS)


def write_report(run: Path, report: Report) -> None:
    """Puts report.json in place whole or not at all.

    `_SUCCESS` stands beside a complete one only, and not where the quality target is shown to be missed.
    """
    layout = RunLayout(run)
    is_success = report.state == "complete" and not (report.quality is not None and report.quality.broken)
    with saving(run):
        # A sensor that sees _SUCCESS must find a complete report, whenever a crash strikes in between.
        if not is_success:
            layout.success.unlink(missing_ok=True)
        write_whole(layout.report, json_text(report), mode=AS_UMASK_SAYS)
        if is_success:
            write_whole(layout.success, b"", mode=AS_UMASK_SAYS)
