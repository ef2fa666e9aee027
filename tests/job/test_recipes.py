"""The recipes in jobs/: fit to run as they stand, for models that are sold at a known price."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from genai_prices.data_snapshot import get_snapshot

from batchroute.job.load import load_job
from batchroute.job.prices import open_targets
from sums import write_sums

if TYPE_CHECKING:
    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.spec import Job

RECIPES = sorted((Path(__file__).parents[2] / "jobs").glob("*.toml"))
PROVIDERS = {"openai", "azure", "anthropic", "gemini", "groq", "openrouter", "deepseek", "local"}
# Off, or announced to end: what a recipe names has to be there for half a year.
ENDING = {"o4-mini", "gpt-5", "gpt-4o-mini", "gpt-4.1-mini", "gpt-4o", "gpt-4.1", "gpt-4.1-nano"}


def load(path: Path) -> Job:
    text = path.read_text()
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", text), "/data")
    keys = dict.fromkeys(re.findall(r'api_key_env = "(\w+)"', text), "key-of-a-test")
    return load_job(path, environ=keys, variables=variables, require_keys=True)


def endpoints() -> list[tuple[str, EndpointSpec]]:
    return [(path.stem, spec) for path in RECIPES for spec in load(path).asked.values()]


def test_there_is_one_for_each_family_of_providers() -> None:
    assert {path.stem.partition("-")[0] for path in RECIPES} >= PROVIDERS


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_all_that_is_asked_has_a_price(path: Path) -> None:
    for target in open_targets(load(path).asked).values():
        assert target.list_price is not None, f"{target.model} has no price"


@pytest.mark.parametrize(("recipe", "spec"), endpoints(), ids=lambda value: getattr(value, "model", value))
def test_every_model_is_sold_and_goes_on_being_sold(recipe: str, spec: EndpointSpec) -> None:
    if recipe in {"local-pair", "self-hosted-fleet"}:
        assert spec.price is not None
        return
    host = f"https://{spec.addresses[0].split('/')[2]}" if spec.addresses else None
    if host is None or "azure" in host:
        host = "https://api.openai.com"
    provider, model = get_snapshot().find_provider_model(spec.model, None, None, host)
    assert not model.deprecated, f"{provider.id} no longer sells {spec.model}"
    assert spec.model.rpartition("/")[2] not in ENDING


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_each_says_how_to_run_it(path: Path) -> None:
    head = path.read_text().split("\n\n[", 1)[0]
    assert head.startswith("# ")
    assert "batchroute " in head


def test_the_sums_of_the_pilot_demo_can_be_made_again(tmp_path: Path) -> None:
    job = load(RECIPES[0].with_name("pilot-demo.toml"))
    made = write_sums(tmp_path / "sums.jsonl", 2000)
    assert [Path(path).read_bytes() for path in job.input.path] == [made.read_bytes()]
