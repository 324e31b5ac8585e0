#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Draws memory and time of a benchmark against the size of its chunks or tiles.

    ltxmem_benchmarks --benchmark_filter='ffn/onednn/bf16/ltx2_video/token_chunk:.*/hidden_chunk:0/threads:2' \\
                      --benchmark_format=json > chunks.json
    plot.py chunks.json chunks.svg

    ltxmem_benchmarks --benchmark_filter='attention/highway/bf16/ltx2_video_on_ltx2_video/query.*threads:2' \\
                      --benchmark_format=json > tiles.json
    plot.py tiles.json tiles.svg

peers/chunks.py writes the first with PyTorch beside it, which is drawn beside it. Needs matplotlib (Debian and Ubuntu: python3-matplotlib).
"""
import json
import re
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}


def size(text):
    """0 stands for everything at once, the largest of all."""
    return int(text) or float("inf")


def named(value):
    return "all" if value == float("inf") else str(value)


def points(runs):
    """By whose they are, (what to sort by, label, MiB, seconds) of every run that has chunks or tiles; and what the
    labels are."""
    series, axis = {}, ""
    for run in runs:
        found = series.setdefault("PyTorch" if "/pytorch/" in run["name"] else "ltxmem", [])
        measured = run["peak_bytes"] / 2**20, run["real_time"] * SECONDS[run["time_unit"]]
        if chunk := re.search(r"token_chunk:(\d+)", run["name"]):
            tokens = size(chunk[1])
            found.append((tokens, named(tokens), *measured))
            axis = "tokens per chunk"
        elif tiles := re.search(r"query_tile:(\d+)/key_tile:(\d+)", run["name"]):
            queries, keys = size(tiles[1]), size(tiles[2])
            found.append(((queries, keys), f"{named(queries)}\n{named(keys)}", *measured))
            axis = "queries per tile, keys per tile"
    return {whose: sorted(found) for whose, found in series.items() if found}, axis


COLORS = {"ltxmem": ("#4878a8", "#c08050"), "PyTorch": ("#b8c8d8", "#e4ccb8")}


def main(source, target):
    with open(source) as file:
        series, axis = points(json.load(file)["benchmarks"])
    if not series:
        sys.exit(f"{source}: no benchmark with chunks or tiles")
    figure, (memory, time) = plt.subplots(1, 2, figsize=(8, 2.8))
    width = 0.8 / len(series)
    for place, (whose, found) in enumerate(series.items()):
        _, labels, mebibytes, seconds = zip(*found)
        middles = [index + (place - (len(series) - 1) / 2) * width for index in range(len(found))]
        for axes, values, color in zip((memory, time), (mebibytes, seconds), COLORS[whose]):
            axes.bar(middles, values, width, color=color, label=whose)
            axes.set_xticks(range(len(labels)), labels)
    memory.set_ylabel("workspace, MiB")
    time.set_ylabel("seconds")
    for axes in (memory, time):
        axes.set_xlabel(axis)
        axes.spines[["top", "right"]].set_visible(False)
        if len(series) > 1:
            axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
