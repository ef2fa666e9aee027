"""The commands that say what a job file may hold: settings for people, schema for editors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from batchroute.cli.help import command
from batchroute.cli.output import show_json
from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.job.described import Setting


@command("settings", "settings limits cost")
@click.argument("keys", metavar="[KEY...]", nargs=-1)
@click.option("--markdown", is_flag=True, help="Print a table in Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def settings(keys: Sequence[str], markdown: bool, as_json: bool) -> int:
    """List the keys of a job file, with types and defaults.

    With KEYs only those settings whose names hold one of them: `settings limits cost`.
    """
    from dataclasses import asdict

    from batchroute.job.described import described_settings
    from batchroute.report.figures import json_text

    if markdown and as_json:
        raise UsageFault("say either --markdown or --json")
    wanted = [each for each in described_settings() if not keys or any(key in each.key for key in keys)]
    if not wanted:
        raise UsageFault(f"no key of a job file has {' or '.join(keys)} in it; `batchroute settings` lists all")
    if as_json:
        show_json(json_text({"settings": [asdict(each) for each in wanted]}))
    else:
        click.echo(markdown_table(wanted) if markdown else "\n".join(_lines(wanted)))
    return 0


def markdown_table(wanted: Sequence[Setting]) -> str:
    """What stands in jobs/README.md."""
    rows = ["| key | type | default | may change on resume | what it is |", "|---|---|---|---|---|"]
    for each in wanted:
        kind = " \\| ".join(f"`{choice}`" for choice in each.choices) or each.type
        default = "required" if each.required else _default(each) and f"`{_default(each)}`"
        cells = (f"`{each.key}`", kind, default, "yes" if each.may_change else "no", each.what)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _lines(wanted: Sequence[Setting]) -> Iterator[str]:
    for each in wanted:
        default = "required" if each.required else _default(each) and f"{_default(each)} by default"
        kept = "" if each.may_change else "stays once a row is answered"
        yield click.style(each.key, bold=True) + f"  {'; '.join(filter(None, (each.type, default, kept)))}"
        yield f"    {each.what}"


def _default(setting: Setting) -> str:
    """As JSON writes it, which is also TOML; nothing where there is none."""
    return "" if setting.default is None else json.dumps(setting.default)


@command("schema", "schema > batchroute.schema.json")
def schema() -> int:
    """Print the JSON schema of job files, for editors.

    Write it beside your job files and name it in the first line of each, as Taplo and Even Better TOML read it:

    \b
      batchroute schema > batchroute.schema.json
      #:schema ./batchroute.schema.json
    """
    from batchroute.job.described import job_schema
    from batchroute.report.figures import json_text

    show_json(json_text(job_schema()))
    return 0
