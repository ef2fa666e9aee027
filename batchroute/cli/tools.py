"""The commands beside jobs and runs: train, evaluate, serve, simulate."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchroute.cli.flags import FILE, JOB, pairs, server_flags
from batchroute.cli.help import command
from batchroute.cli.output import console, log, show, show_json, warn_of_loss
from batchroute.cli.places import labels_at
from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.cli.flags import Flags
    from batchroute.learn.evaluate.figures import Evaluation


@command(
    "train labels.jsonl -o my-router",
    "train battles.parquet -o my-router --strong big --weak small",
    exits=(4,),
)
@click.argument("labels", metavar="LABELS...", type=FILE, nargs=-1, required=True)
@click.option("-o", "out", type=FILE, required=True, metavar="MODEL", help="The model's directory.")
@click.option("--strong", metavar="NAME", help="The model in the labels that stands for the strong side.")
@click.option("--weak", metavar="NAME", help="The one for the weak side.")
@click.option("--device", metavar="NAME", help="auto (the default), cpu, cuda or cuda:N.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set router.key, as router.embedder.use.")
@click.option("--licence", default="", metavar="TEXT", help="Of the labels; goes into the model's card.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the split and the training.")
# `settings` are arguments of train_model, by their names.
def train(labels: Sequence[Path], out: Path, device: str | None, sets: Sequence[str], **settings: Any) -> int:
    """Train a router from labelled prompts.

    LABELS are Parquet, JSONL or CSV files of outcomes (prompt, model, score), battles (prompt, model_a, model_b,
    winner) or pairs (prompt, strong, weak). With --strong and --weak the model is for these two, which is best for
    routing between them; without, its table has a row for every model in the labels.
    """
    from batchroute.job.load import router_section
    from batchroute.learn.train.build import train_model
    from batchroute.show.training import epochs_shown, trained_words

    spec = router_section([*sets, *(() if device is None else [f"router.device={device}"])])
    with epochs_shown(console(stderr=True)) as on_epoch:
        trained = train_model(labels_at(labels), out, router=spec, on_epoch=on_epoch, **settings)
    click.echo(trained_words(trained))
    warn_of_loss()
    return 0


@command("serve job.toml", "serve job.toml --host 0.0.0.0 --api-key-env CLIENT_KEY", exits=(4, 130))
@click.argument("job_file", metavar="JOB", type=JOB)
@server_flags
@click.option("--host", default="127.0.0.1", help="The address to listen on; others than this need a key.")
@click.option("--port", type=click.IntRange(0, 65535), default=6060, help="0 takes a free one.")
@click.option("--api-key-env", metavar="NAME", help="The variable with the key that clients must show.")
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME", help="A host name it goes by.")
@click.option("--state", type=FILE, metavar="DIR", help="Of files and batches; OUTPUT.serve by default.")
@click.option("--batch-share", type=click.FloatRange(0, 0.95), default=0.5, help="Of the limits, for batches.")
@click.option("--max-disk-mb", type=click.IntRange(min=1), default=10_240, help="What files and batches may take.")
# `settings` are the other fields of ServeOptions, by their names.
def serve(job_file: Path, flags: Flags, allow_hosts: Sequence[str], max_disk_mb: int, **settings: Any) -> int:
    """Serve a job's two endpoints as one OpenAI-compatible API.

    Each request is routed on its own. The first line on stdout is {"port": N, "base_url": "http://..."}. Clients
    write router-mf-0.24 as their model (a threshold), router (the job's own, or what its plan or run has found),
    or the name of one of the two.
    """
    from batchroute.serve.server import ServeOptions
    from batchroute.serve.server import serve as run_server

    job = flags.load(job_file, require_keys=True)
    options = ServeOptions(
        environ=os.environ,
        announce=_announce,
        notify=log.warning,
        allow_hosts=tuple(allow_hosts),
        most_disk_bytes=max_disk_mb << 20,
        **settings,
    )
    return 128 + run_server(job, options)  # as a shell says that a signal ended a process


def _announce(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host  # an IPv6 address in an URL
    click.echo(json.dumps({"port": port, "base_url": f"http://{shown}:{port}/v1"}))
    warn_of_loss()


@command(
    "evaluate labels.jsonl --strong big --weak small",
    "evaluate labels.jsonl --model my-router --plot curves.svg",
    exits=(4,),
)
@click.argument("labels", metavar="LABELS...", type=FILE, nargs=-1, required=True)
@click.option("--strong", metavar="NAME", help="The model in the labels that stands for the strong side.")
@click.option("--weak", metavar="NAME", help="The one for the weak side.")
@click.option(
    "--router", "routers", multiple=True, metavar="NAME", help="mf, random, package.module:Class; repeatable."
)
@click.option(
    "--model", "models", type=FILE, multiple=True, metavar="DIR", help="A model's directory; repeatable."
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set router.key to a TOML value.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the draws behind the intervals.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--plot", type=FILE, metavar="FILE.png|.svg", help="Draw the curves.")
# `settings` are the other arguments of compare_routers, by their names.
def evaluate(
    labels: Sequence[Path],
    routers: Sequence[str],
    models: Sequence[Path],
    sets: Sequence[str],
    as_json: bool,
    plot: Path | None,
    **settings: Any,
) -> int:
    """Compare routers on labelled prompts.

    They stand beside an oracle and two controls, which are never recommended: random (the mean of 100 random
    routers) and length (the characters of the prompt). LABELS are Parquet, JSONL or CSV files of outcomes
    (prompt, model, score), battles (prompt, model_a, model_b, winner) or pairs (prompt, strong, weak). Without
    --router and --model it is the built-in router. APGR is the mean share of the gap between the models that is
    recovered (chance: 0.5); CPT50 the percentage of strong calls that recovers half of it. Keep prompts that a
    model was trained on out of its evaluation.
    """
    from batchroute.job.beside import find_beside
    from batchroute.job.load import router_section
    from batchroute.learn.evaluate.build import compare_routers
    from batchroute.report.figures import json_text
    from batchroute.show.evaluation import render_evaluation

    if plot is not None:
        _refuse_unwritable(plot)
    for name in routers:
        find_beside(name, Path.cwd())
    found = compare_routers(labels_at(labels), router_section(sets), routers, models, **settings)
    if plot is not None:
        _draw(found, plot)
    if as_json:
        show_json(json_text(found))
    else:
        show(render_evaluation(found))
    return 0


def _refuse_unwritable(plot: Path) -> None:
    """UsageFault where the curves cannot be drawn into `plot`, said before anything takes time."""
    from batchroute.store.files import refuse_homeless

    if plot.suffix not in {".png", ".svg"}:
        raise UsageFault(f"--plot {plot}: give a name that ends in .png or .svg")
    refuse_homeless(plot)


def _draw(evaluation: Evaluation, plot: Path) -> None:
    from batchroute.show.curves import draw_curves
    from batchroute.store.files import AS_UMASK_SAYS, saving, whole_file

    with saving(plot), whole_file(plot, mode=AS_UMASK_SAYS) as unfinished:
        draw_curves(evaluation, unfinished, "svg" if plot.suffix == ".svg" else "png")
    log.info(f"the curves are in {plot}")


@command("simulate --port 8000", "simulate --latency-s 0.3 --fault 500=0.02 --requests-per-minute 600")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.")
@click.option("--latency-s", type=float, default=0.0, help="How long an answer takes.")
@click.option("--jitter-s", type=float, default=0.0, help="Up to so much longer, at random.")
@click.option("--chunk-s", type=float, default=0.0, help="How long between the chunks of a stream.")
@click.option(
    "--skill", type=click.FloatRange(0, 1), help="Share of sums like 17 * 23 it gets right; else padding."
)
@click.option("--response-tokens", type=int, default=150, help="The usual length of an answer.")
@click.option("--requests-per-minute", type=float, help="Answer 429 above it.")
@click.option("--tokens-per-minute", type=float, help="Answer 429 above it.")
@click.option("--max-concurrency", type=int, help="Answer 429 above so many requests at a time.")
@click.option("--retry-after-s", type=float, help="What a 429 asks to wait.")
@click.option("--reasoning-tokens", type=int, default=0, help="Of an answer, on top of those that are seen.")
@click.option(
    "--media-tokens", type=int, default=0, help="What each image, sound or file of a prompt is billed as."
)
@click.option("--fault", "faults", multiple=True, metavar="NAME=RATE", help="Share of requests that go wrong so.")
@click.option("--poison", multiple=True, metavar="NAME=RATE", help="Share of prompts that go wrong so each time.")
@click.option(
    "--busy", multiple=True, metavar="TIER=RATE", help="Share of a service tier's requests it is full for."
)
@click.option("--tier-answer", multiple=True, metavar="TIER=NAMED", help="Which tier answers, or nothing.")
@click.option(
    "--busy-error", default="resource_unavailable", help="What a full tier says; Groq's capacity_exceeded."
)
@click.option("--refuse", type=float, nargs=2, metavar="AFTER_S FOR_S", help="Take no connections for a while.")
@click.option("--seed", type=int, default=0, help="Of the faults.")
# `settings` are the fields of Behaviour, by their names.
def simulate(
    port: int,
    faults: Sequence[str],
    poison: Sequence[str],
    busy: Sequence[str],
    tier_answer: Sequence[str],
    refuse: tuple[float, float] | None,
    **settings: Any,
) -> int:
    """Run a fake provider on loopback.

    It speaks /v1/chat/completions, /v1/responses, /v1/messages and /v1/embeddings, bills a prompt cache and
    service tiers as OpenAI and Anthropic do (GET /stats has the true bill), and has latency, limits and faults at
    will. Sums it answers as its --skill says, and a judge's verdict on answers it gives, too. The first line on
    stdout is {"port": N}.

    A fault is one of these names, any status from 300 to 599, or ok_ before a name for that error in a 200; a
    prompt with [[fault:NAME]] in it always gets that one, with [[fault:NAME:2]] twice. Names:
    reset, hang, cut, stall, slow, endless, unasked_events, content_type, html, truncated, empty, not_utf8,
    gzip_bomb, refusal, filtered, no_room, other_model, no_choices, prompt_filtered, no_message,
    null_message, choice_error_429, choice_error_502, finish_error, null_content, content_number,
    content_object, content_strings, unreadable, lone_surrogate, oversize, vectors_shuffled, vector_missing,
    vector_short, vector_nan, no_usage, usage_nulls, usage_strings, usage_zero, usage_no_total,
    reasoning_beside, reasoning_unsaid, cached_deepseek, cached_moonshot, cached_anthropic, own_cost,
    zero_cost, invalid_api_key, permission_denied, account_deactivated, insufficient_quota, quota_words,
    billing_hard_limit_reached, credit_balance, insufficient_balance, exceeded_current_quota_error,
    model_not_found, invalid_request_error, context_length_exceeded, content_filter,
    content_policy_violation, too_large, rate_limit_exceeded, try_again, resource_unavailable,
    capacity_exceeded, slow_down, server_error, overloaded_error, google_429, google_400, base_resp,
    object_error.
    """
    from batchroute.run.process import raise_file_limit
    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.server import serve

    behaviour = Behaviour(
        faults=_rates("--fault", faults),
        poison=_rates("--poison", poison),
        busy=_rates("--busy", busy),
        tier_answers={tier: named or None for tier, named in pairs("--tier-answer", tier_answer).items()},
        **settings,
    )
    raise_file_limit(None)
    serve(behaviour, port, refuse)
    return 0


def _rates(option: str, texts: Sequence[str]) -> dict[str, float]:
    """NAME=RATE, any number of times."""
    try:
        return {name: float(rate) for name, rate in pairs(option, texts).items()}
    except ValueError as wrong:
        raise UsageFault(f"{option} must be NAME=RATE with a rate from 0 to 1 ({wrong})") from wrong
