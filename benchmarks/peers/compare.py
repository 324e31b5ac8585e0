#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Runs PyTorch and our benchmarks by turns on the same operands and prints both beside the limits of the machine.

    python3 -m venv venv && venv/bin/pip install torch numpy
    venv/bin/python benchmarks/peers/compare.py build/release/bin/ltxmem_benchmarks [--rounds 5] [--filter attention]

A turn of a row runs ours, PyTorch and the row's limit, each a few times after a first one that is not counted; ratios
are taken within a turn, and the table has their median with the lowest and the highest one. One thread is measured in
CPU time, so that other work on the machine counts little; more threads in wall time. Results are compared first, by
their projection onto the same vector on either side (benchmarks/values.hpp): a row whose numbers differ ends the run.
"""

import argparse
import sys

import torch
import torch.nn.functional as functional

from turns import TYPES, available_limits, best, limit_of, measure, measure_limit, ratios, some_values, time_calls


class Attention:
    unit = "GFLOP/s"

    def __init__(self, queries, keys, heads, head_dim, dtype, name):
        self.size = 4.0 * queries * keys * heads * head_dim
        self.work = f"attention {heads} x {head_dim}, {queries} queries, {keys} keys"
        self.name = f"attention/highway/{dtype}/{name}/query_tile:0/key_tile:0/threads:{{}}/iterations:3/real_time"
        self.shapes = [(queries, 1), (keys, 2), (keys, 3)]
        self.heads, self.head_dim, self.dtype = heads, head_dim, dtype

    def operands(self):
        width = self.heads * self.head_dim
        return [
            some_values(rows * width, seed).to(TYPES[self.dtype]).view(1, rows, self.heads, self.head_dim).transpose(1, 2)
            for rows, seed in self.shapes
        ]

    def __call__(self, q, k, v):
        return functional.scaled_dot_product_attention(q, k, v)

    def rows(self, result):
        return result.transpose(1, 2)


class FeedForward:
    unit = "GFLOP/s"

    def __init__(self, tokens, width, hidden, dtype, chunk):
        self.size = 4.0 * tokens * width * hidden
        self.work = f"feed-forward {width} - {hidden} - {width}, {tokens} tokens, " + (
            f"chunks of {chunk}" if chunk else "whole"
        )
        self.name = (
            f"ffn/onednn/{dtype}/ltx2_video/token_chunk:{chunk}/hidden_chunk:0/threads:{{}}/iterations:2/real_time"
        )
        self.tokens, self.width, self.hidden, self.dtype = tokens, width, hidden, dtype

    def operands(self):
        made = lambda rows, columns, seed, size: some_values(rows * columns, seed, size).to(TYPES[self.dtype]).view(
            rows, columns
        )
        return (
            made(self.tokens, self.width, 3, 1.0),
            made(self.hidden, self.width, 1, 0.02),
            made(self.width, self.hidden, 2, 0.01),
        )

    def __call__(self, x, up, down):
        return functional.linear(functional.gelu(functional.linear(x, up), approximate="tanh"), down)

    def rows(self, result):
        return result


class NormAndModulate:
    unit = "GB/s"

    def __init__(self, tokens, width, dtype):
        self.size = 2.0 * tokens * width * (4 if dtype == "f32" else 2)
        self.work = f"norm + modulate, {tokens} x {width}"
        self.name = f"norm/modulate/{dtype}/threads:{{}}/real_time"
        self.tokens, self.width, self.dtype = tokens, width, dtype

    def operands(self):
        return (
            some_values(self.tokens * self.width, 1).to(TYPES[self.dtype]).view(self.tokens, self.width),
            some_values(self.width, 2).to(TYPES[self.dtype]),
            some_values(self.width, 3).to(TYPES[self.dtype]),
        )

    def __call__(self, x, scale, shift):
        return functional.rms_norm(x, (self.width,), eps=1e-6) * (1 + scale) + shift

    def rows(self, result):
        return result


class Rotate:
    """Ours alone: PyTorch has no such operation."""

    unit = "GB/s"

    def __init__(self, tokens, width, dtype):
        self.size = 2.0 * tokens * width * (4 if dtype == "f32" else 2)
        self.work = f"q/k norm + rope, {tokens} x {width}"
        self.name = f"head_norm/rotate/{dtype}/threads:{{}}/real_time"
        self.dtype = dtype
        self.operands = None


TOLERANCES = {"f32": 1e-4, "bf16": 2e-2}  # of the length of the result


def check(row, result, theirs):
    """Both projections are sums of as many terms as the result has elements."""
    flat = row.rows(result).reshape(-1).double()
    onto = some_values(flat.numel(), 99).double()
    difference = abs(float(flat @ onto) - theirs["check"]) / float(flat.norm())
    if not difference < TOLERANCES[row.dtype]:
        sys.exit(f"{row.work}, {row.dtype}: results differ by {difference:.2g} of their length")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="ltxmem_benchmarks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--filter", default="", help="part of 'WORK, TYPE' of the rows to run")
    arguments = parser.parse_args()
    available = available_limits(arguments.binary)

    rows = []
    for dtype in TYPES:
        rows += [
            Attention(4096, 4096, 32, 128, dtype, "ltx2_video_long_on_ltx2_video_long"),
            Attention(4096, 4096, 32, 64, dtype, "heads_of_64_on_heads_of_64"),
            Attention(126, 4096, 32, 64, dtype, "ltx2_audio_on_heads_of_64"),
            FeedForward(2048, 4096, 16384, dtype, 0),
            FeedForward(2048, 4096, 16384, dtype, 512),
            NormAndModulate(4096, 4096, dtype),
            Rotate(4096, 4096, dtype),
        ]
    print(f"PyTorch {torch.__version__}; {arguments.rounds} turns; best of both, ratios: median (lowest-highest)\n")
    print("| work | type | threads | ltxmem | PyTorch | ltxmem / PyTorch | limit | ltxmem / limit |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        if arguments.filter not in f"{row.work}, {row.dtype}":
            continue
        operands = row.operands() if row.operands else None
        limit = limit_of(row.unit, row.dtype, available)
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            ours, theirs, limits = [], [], []
            with torch.inference_mode():
                for turn in range(arguments.rounds):
                    rate, run = measure(arguments.binary, row.name.format(threads), threads)
                    ours.append(rate)
                    if operands:
                        seconds, result = time_calls(lambda: row(*operands), threads, repetitions=3)
                        theirs.append(row.size / seconds / 1e9)
                        if turn == 0:
                            check(row, result, run)
                    if limit:
                        limits.append(measure_limit(arguments.binary, limit, threads))
            print(
                f"| {row.work} | {row.dtype} | {threads} | {best(ours, row.unit)} | {best(theirs, row.unit)} "
                f"| {ratios(ours, theirs)} | {best(limits, row.unit)} | {ratios(ours, limits)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
