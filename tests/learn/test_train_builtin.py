"""The tool that trains the built-in router: recipes, what they teach, figures on left-out prompts, calibration."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from batchroute.errors import InputFault
from batchroute.job.spec import RouterSpec
from batchroute.learn.train.gain import LOGIT_OF_GAIN
from batchroute.score.embed.embedders import BUILTIN_DIMENSION
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer
from labelled import EASY, HARD, outcomes, pairs, save
from recipe import read_recipe
from train_builtin import calibration_line, train_builtin

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.types import Floats

NAMES = 'strong = "big"\nweak = "small"\n'


def score_with(model: Path, prompts: list[str]) -> Floats:
    spec = RouterSpec(model=str(model), strong="big", weak="small", device="cpu")
    return load_scorer(spec).score(bare_questions(prompts))


def test_a_recipe_names_its_sources_and_its_card_says_so(tmp_path: Path) -> None:
    save(outcomes(others=1).with_columns(domain=pl.lit("talk")), tmp_path / "a.parquet")
    save(pairs(), tmp_path / "b.jsonl")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'strong = "big"\nweak = "small"\ndata = "made up"\nlicence = "MIT"\nprior = {"prose length" = 0.1}\n'
        '[[labels]]\nfile = "a.parquet"\nstrong = ["big", "other-0"]\nweak = ["small"]\n'
        '[[labels]]\nfile = "b.jsonl"\nstrong = []\nweak = []\n'
    )
    prompts, held_out = train_builtin(read_recipe(recipe), tmp_path, tmp_path / "model", seed=5)
    assert prompts == 2 * len(EASY + HARD)
    assert set(held_out) == {"a.parquet", "b.jsonl"}
    assert all(set(figures) == {"model", "length", "random"} for figures in held_out.values())
    card = json.loads((tmp_path / "model" / "batchroute.json").read_text())
    assert card["embedder"] == {"identity": "hashed-ngrams-2", "dimension": BUILTIN_DIMENSION}
    assert (card["data"], card["licence"], card["seed"]) == ("made up", "MIT", 5)
    assert card["evaluation"]["held_out_apgr"] == held_out


def test_a_question_is_left_out_with_its_copies_in_other_domains(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = ["".join(map(chr, random.integers(97, 123, 9))) for _ in range(300)]
    fails = random.permutation(300) < 150  # with no reason that a prompt could show
    for name, ending in (("a.csv", "?"), ("b.csv", " ?\nA. one\nB. two")):
        frame = pl.DataFrame(
            {
                "prompt": [f"What of {word}{ending}" for word in words],
                "domain": [f"{name}{place % 6}" for place in range(300)],
                "strong": 1.0,
                "weak": np.where(fails, 0.0, 1.0),
            }
        )
        save(frame, tmp_path / name)
    sources = "".join(f'[[labels]]\nfile = "{name}"\nstrong = []\nweak = []\n' for name in ("a.csv", "b.csv"))
    (tmp_path / "recipe.toml").write_text(f"{NAMES}{sources}")
    recipe = read_recipe(tmp_path / "recipe.toml")
    _, held_out = train_builtin(recipe, tmp_path, tmp_path / "model")
    assert all(0.35 < figures["model"] < 0.65 for figures in held_out.values())


def train_with(tmp_path: Path, lines: str, frame: pl.DataFrame) -> int:
    save(frame, tmp_path / "a.csv")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'strong = "big"\nweak = "small"\ncalibrate_on = ""\n'
        f'[[labels]]\nfile = "a.csv"\nstrong = ["big"]\nweak = ["small"]\n{lines}\n'
    )
    prompts, _ = train_builtin(read_recipe(recipe), tmp_path, tmp_path / "model")
    return prompts


def talk_and_proof() -> pl.DataFrame:
    talk = pl.col("prompt").is_in(EASY)
    return outcomes().with_columns(domain=pl.when(talk).then(pl.lit("talk")).otherwise(pl.lit("proof")))


def test_domains_that_a_recipe_does_without_are_not_learnt_from(tmp_path: Path) -> None:
    assert train_with(tmp_path, 'without = ["talk"]', talk_and_proof()) == len(HARD)
    with pytest.raises(InputFault, match=r"a\.csv: without: no labelled prompt is of the domain 'tlak'"):
        train_with(tmp_path, 'without = ["tlak"]', talk_and_proof())
    with pytest.raises(InputFault, match=r"a\.csv: without: no labelled prompt is left"):
        train_with(tmp_path, 'without = ["talk", "proof"]', talk_and_proof())


def test_difficulty_ranks_what_both_sides_fail_on_above_what_one_does(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        [(prompt, "big", 1.0) for prompt in EASY]
        + [(prompt, "small", 0.5) for prompt in EASY]
        + [(prompt, model, 0.0) for prompt in HARD for model in ("big", "small")],
        schema=["prompt", "model", "score"],
        orient="row",
    )
    asked = [HARD[0], EASY[0]]
    train_with(tmp_path, 'target = "difficulty"', frame)
    hard, easy = score_with(tmp_path / "model", asked)
    assert hard > easy
    train_with(tmp_path, 'target = "gain"', frame)
    hard, easy = score_with(tmp_path / "model", asked)
    assert hard < easy


def added_by(prior: str, tmp_path: Path, texts: list[str]) -> Floats:
    """By how much a recipe's line moves the gains of these texts."""
    for name, line in (("plain", ""), ("with", prior)):
        save(outcomes(), tmp_path / "a.csv")
        (tmp_path / "recipe.toml").write_text(
            f'strong = "big"\nweak = "small"\n{line}\n'
            '[[labels]]\nfile = "a.csv"\nstrong = ["big"]\nweak = ["small"]\n'
        )
        train_builtin(read_recipe(tmp_path / "recipe.toml"), tmp_path, tmp_path / name)
    plain, moved = (score_with(tmp_path / name, texts) for name in ("plain", "with"))
    gains: Floats = (np.log(moved / (1 - moved)) - np.log(plain / (1 - plain))) / LOGIT_OF_GAIN
    return gains


def test_a_prior_adds_what_it_says_per_unit_of_its_feature(tmp_path: Path) -> None:
    added = added_by('prior = {"free task" = -0.3}', tmp_path, ["Tell me a story.", "Sing along with us."])
    np.testing.assert_allclose(added, [-0.3 * 0.75, 0.0], atol=1e-3)  # three of the four words count


def test_a_word_prior_adds_what_it_says_per_word_that_is_there(tmp_path: Path) -> None:
    prior = 'word_priors = [{gain = 0.6, words = """der die\n das"""}, {gain = -0.3, words = "und"}]'
    texts = ["Das und der Hund, das Haus", "Die", "The dog and its house"]
    # of the five words and five pairs of the first, "das" and "der" are of one kind, "und" of the other
    added = added_by(prior, tmp_path, texts)
    np.testing.assert_allclose(added, [(2 * 0.6 - 0.3) / np.sqrt(10), 0.6, 0.0], atol=1e-3)


def test_calibrated_scores_are_the_rate_of_wins() -> None:
    random = np.random.default_rng(0)
    predicted = random.standard_normal(50_000)
    rate = 1 / (1 + np.exp(-(0.7 * predicted + 0.2)))
    gain = 2.0 * (random.random(50_000) < rate) - 1
    assert calibration_line(predicted, gain) == pytest.approx((0.7, 0.2), abs=0.03)
    with pytest.raises(InputFault, match="no better than chance"):
        calibration_line(-predicted, gain)


def test_a_calibrated_model_ranks_as_before(tmp_path: Path) -> None:
    asked, easy_ones = EASY[::8] + HARD[::7], len(EASY[::8])
    few = outcomes().filter(pl.col("prompt").is_in(asked))
    frame = pl.concat(
        [few.with_columns(domain=pl.lit(str(part)), prompt=pl.col("prompt") + f" {part}") for part in range(6)]
    )
    save(frame, tmp_path / "a.csv")
    scores = {}
    for name in ("", "a.csv"):
        (tmp_path / "recipe.toml").write_text(
            f'strong = "big"\nweak = "small"\ncalibrate_on = "{name}"\n'
            '[[labels]]\nfile = "a.csv"\nstrong = ["big"]\nweak = ["small"]\n'
        )
        train_builtin(read_recipe(tmp_path / "recipe.toml"), tmp_path, tmp_path / f"model{name}")
        scores[name] = score_with(tmp_path / f"model{name}", [f"{prompt} 0" for prompt in asked])
    assert (np.argsort(scores["a.csv"]) == np.argsort(scores[""])).all()
    # the strong side ties on EASY and wins on HARD
    easy, hard = (np.abs(scores["a.csv"] - rate) for rate in (0.5, 1.0))
    assert easy[:easy_ones].max() < 0.1
    assert hard[easy_ones:].max() < 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strong = 1", "Expected `str`"),
        ("what = 1", "unknown field|missing required"),
        ("=", "recipe.toml"),
        (NAMES + "labels = []\nprior = {lenght = 1}", "prior: no feature is named 'lenght'; there are constant, "),
        (NAMES + 'labels = []\ncalibrate_on = "b.csv"', r"calibrate_on: no \[\[labels\]\] has the file 'b.csv'"),
    ],
)
def test_a_recipe_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(InputFault, match=message):
        read_recipe(tmp_path / "recipe.toml")


def test_the_tool_says_what_it_made_and_what_is_wrong(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    save(pairs(), tmp_path / "a.csv")
    (tmp_path / "recipe.toml").write_text(f'{NAMES}[[labels]]\nfile = "a.csv"\nstrong = []\nweak = []\n')
    tool = request.config.rootpath / "jobs" / "training" / "train_builtin.py"
    command = [sys.executable, tool, tmp_path / "recipe.toml", "-o", tmp_path / "model", "--data"]
    made, failed = (
        subprocess.run([*command, data], capture_output=True, text=True, check=False)
        for data in (tmp_path, tmp_path / "nowhere")
    )
    assert (made.returncode, made.stdout) == (0, f"{tmp_path / 'model'}: trained on 100 prompts\n")
    assert failed.returncode == 2
    assert "nowhere/a.csv: cannot be read" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_recipe_of_the_built_in_model_can_be_read(request: pytest.FixtureRequest) -> None:
    recipe = read_recipe(request.config.rootpath / "jobs" / "training" / "builtin-router.toml")
    assert (recipe.strong, recipe.weak) == ("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
    assert len(recipe.labels) == 6
