#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Time and memory of the feed-forward network of LTX-2 against the size of its chunks, ours and PyTorch's by turns.

    python3 -m venv venv && venv/bin/pip install torch numpy matplotlib
    venv/bin/python benchmarks/peers/chunks.py build/release/bin/ltxmem_benchmarks > chunks.json
    venv/bin/python benchmarks/plot.py chunks.json docs/chunks.svg

PyTorch runs eagerly, chunk after chunk, and writes each into its place in the result, as ours does. Memory is neither
operands nor result: the workspace of ours, and how far PyTorch's call raises the resident set while its allocator keeps
nothing that was freed. The output has the form of Google Benchmark's, with the best of the turns.
"""

import argparse
import json
import sys

import torch
import torch.nn.functional as functional

from compare import FeedForward, check
from turns import measure, peak_bytes, time_calls

CHUNKS = (256, 512, 1024, 0)
THREADS = 2


class Chunked(FeedForward):
    """Chunks of tokens, or all of them (0)."""

    def __init__(self, chunk):
        super().__init__(2048, 4096, 16384, "bf16", chunk)
        self.chunk = chunk or self.tokens

    def __call__(self, x, up, down, result):
        for begin in range(0, self.tokens, self.chunk):
            part = slice(begin, begin + self.chunk)
            hidden = functional.gelu(functional.linear(x[part], up), approximate="tanh")
            torch.mm(hidden, down.t(), out=result[part])
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="ltxmem_benchmarks")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    operands = Chunked(0).operands()
    found = []
    with torch.inference_mode():
        for chunk in CHUNKS:
            row = Chunked(chunk)
            result = torch.empty_like(operands[0])
            call = lambda: row(*operands, result)
            ours, theirs = [], []
            for turn in range(arguments.rounds):
                run = measure(arguments.binary, row.name.format(THREADS), THREADS)[1]
                ours.append(run)
                theirs.append(time_calls(call, THREADS, repetitions=2)[0])
                if turn == 0:
                    check(row, result, run)
            found.append(min(ours, key=lambda run: run["real_time"]))
            name = row.name.format(THREADS).replace("ffn/onednn", "ffn/pytorch")
            beside = {"name": name, "real_time": min(theirs), "time_unit": "s", "peak_bytes": peak_bytes(call)}
            found.append(beside)
            print(f"chunks of {chunk or 'all'} done", file=sys.stderr)
    json.dump({"context": {"pytorch": torch.__version__}, "benchmarks": found}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
