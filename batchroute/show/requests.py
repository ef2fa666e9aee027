"""The first requests of a job as lines: where each row goes and why, and what would be sent for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.show.words import count, money, one_line, threshold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.run.preview import Preview, ShownRequest, ShownRow

_SHOWN_CHARS = 4000  # of a body; an image in it has millions


def preview_lines(preview: Preview) -> Iterator[str]:
    """All of a preview, an empty line behind each row."""
    if not preview.rows:
        yield "the input has no rows"
    for row in preview.rows:
        row_id = "" if row.id is None else f", id {one_line(row.id)}"
        yield f"{one_line(row.file)}, row {row.row}{row_id}"
        yield f"  {_way(row, preview.threshold)}"
        for request in row.requests:
            yield from (f"  {line}" for line in _request(request, is_open=row.route is None))
        yield ""


def _way(row: ShownRow, at: float | None) -> str:
    """Where it goes and why, or why nowhere."""
    if row.refusal is not None:
        return f"refused: {one_line(row.refusal)}"
    score = "no score" if row.score is None else f"score {threshold(row.score)}"
    if row.route is None:
        return f"{score}: strong or weak, as the threshold will be"
    return f"{score}: {row.route}, {_why(row, at)}"


def _why(row: ShownRow, at: float | None) -> str:
    if row.route_reason == "override":
        return "as the row says"
    if row.route_reason == "too_long":
        return "as it is too long for the other side"
    return f"{'at least' if row.route == 'strong' else 'below'} the threshold {threshold(at)}"


def _request(request: ShownRequest, *, is_open: bool) -> Iterator[str]:
    side = f"if {request.endpoint}: " if is_open else ""
    yield f"{side}{request.model}, POST {request.url}"
    yield from (f"{name}: {value}" for name, value in request.headers.items())
    most = "an unknown cost" if request.most_usd is None else f"{money(request.most_usd)} USD"
    yield f"about {count(request.input_tokens)} tokens, {count(request.tokens)} with its answer; at most {most}"
    body = bytes(request.body).decode()
    yield body if len(body) <= _SHOWN_CHARS else f"{body[:_SHOWN_CHARS]}... ({len(body):,} characters: see --json)"
