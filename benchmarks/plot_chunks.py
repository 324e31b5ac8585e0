#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Draws memory and time of the feed-forward network against the size of its token chunks.

    ltxmem_benchmarks --benchmark_filter='ffn/onednn/bf16/ltx2_video/token_chunk:.*/hidden_chunk:0' \\
                      --benchmark_format=json > chunks.json
    plot_chunks.py chunks.json chunks.svg

Needs matplotlib (Debian and Ubuntu: python3-matplotlib).
"""
import json
import re
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt


def main(source, target):
    with open(source) as file:
        runs = json.load(file)["benchmarks"]
    points = []
    for run in runs:
        chunk = int(re.search(r"token_chunk:(\d+)", run["name"])[1])
        points.append((chunk, run["peak_bytes"] / 2**20, run["real_time"] * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1}[run["time_unit"]]))
    points.sort(key=lambda point: point[0] or float("inf"))
    if not points:
        sys.exit(f"{source}: no benchmark with a token_chunk")
    names = [str(chunk) if chunk else "whole" for chunk, _, _ in points]
    figure, (memory, time) = plt.subplots(1, 2, figsize=(8, 2.8))
    memory.bar(names, [mebibytes for _, mebibytes, _ in points], color="#4878a8")
    memory.set_ylabel("workspace, MiB")
    time.bar(names, [seconds for _, _, seconds in points], color="#c08050")
    time.set_ylabel("seconds")
    for axes in (memory, time):
        axes.set_xlabel("tokens per chunk")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
