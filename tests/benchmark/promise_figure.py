"""The figure of jobs/quality.md: strong calls saved by the rows that a pilot asks, and by knowing every grade.

    python tests/benchmark/promise_figure.py FIGURES.jsonl jobs/quality.png

FIGURES.jsonl is what `promise_kept.py --out` wrote, with one target and several numbers of rows.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#1b6ca8", "#c4571b", "#2f8f4e", "#7a4fa3", "#8a6d00")
INK = "#333333"


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    settings = groupby(lines, key=lambda line: (line["name"], line["scores"]))
    figure, axes = plt.subplots(figsize=(8, 4.6), dpi=100)
    for colour, (_, setting) in zip(COLOURS, settings, strict=False):
        points = sorted(setting, key=lambda line: line["rows"])
        rows = [point["rows"] for point in points]
        saved = [100 * point["saved"] for point in points]
        best = 100 * points[0]["best"]
        label = f"{points[0]['name']}: {points[0]['scores']}"
        axes.plot(rows, saved, color=colour, marker="o", markersize=4, linewidth=2)
        axes.plot(
            [rows[-1] * 1.12], [best], color=colour, marker="D", markersize=6, linestyle="none", clip_on=False
        )
        axes.plot([rows[-1], rows[-1] * 1.12], [saved[-1], best], color=colour, linewidth=0.8, linestyle=":")
        axes.annotate(label, (rows[-1] * 1.2, best), color=colour, va="center", fontsize=10, annotation_clip=False)
    axes.set_xscale("log")
    axes.set_xticks(rows, [f"{row:,}" for row in rows])
    axes.minorticks_off()
    axes.set_xlim(rows[0] * 0.9, rows[-1] * 1.12)
    axes.set_ylim(0, 100)
    axes.set_xlabel("rows asked on both sides", color=INK, fontsize=10)
    axes.set_title(
        "Strong calls saved in % at 95 % of the strong side's quality, confidence 90 %;"
        "\ndiamonds: what knowing every grade would save",
        loc="left", color=INK, fontsize=11,
    )  # fmt: skip
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.tick_params(colors=INK, labelsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.subplots_adjust(left=0.06, right=0.72, top=0.86, bottom=0.12)
    figure.savefig(target, facecolor="white")


if __name__ == "__main__":
    main()
