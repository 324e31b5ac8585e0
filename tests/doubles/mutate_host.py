#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

"""Deletes one event, wait or synchronisation at a time from host code and expects the streaming tests to fail.

  mutate_host.py --root REPOSITORY --work DIR --nvcc NVCC --objects FILE... --libraries FILE... [--sample N] [--seed S] [--only TEXT]

Each mutant is compiled by nvcc in place of tests/doubles/streaming.cu and run on the doubles, which is where order
shows. The last line is "N passed, N failed": a mutant passes when a test fails on it.
"""

import argparse
import pathlib
import subprocess
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "simt"))
import mutate  # noqa: E402

BACKEND = "backend/cuda/backend.cuh"
STREAM = "backend/cuda/cuda_stream.hpp"
ROWS = "stores/host_row_store.hpp"
WEIGHTS = "weights/weight_stream.hpp"

# file, text to delete, which occurrence of the text (from 1)
DELETIONS = [
    (BACKEND, "stream_.synchronize();", 1),
    (BACKEND, "stream_.record(given_);", 1),
    (BACKEND, "copies.wait(given_);", 1),
    (BACKEND, "copies.record(*done);", 1),
    (BACKEND, "if (event != nullptr) stream_.wait(*event);", 1),
    (BACKEND, "if (event != nullptr) event->synchronize();", 1),
    (STREAM, 'cuda::check("cudaEventSynchronize", cudaEventSynchronize(event_));', 1),
    (STREAM, 'cuda::check("cudaStreamSynchronize", cudaStreamSynchronize(stream_));', 1),
    (ROWS, "settle(slots_[current_].arriving);", 1),
    (ROWS, "clear(slots_[at]);", 1),
    (ROWS, "settle(slots_[at].leaving);", 1),
    (ROWS, "settle(slot.leaving);", 1),
    (ROWS, "settle(slot.leaving);", 2),
    (ROWS, "if (overlaps(used, begin, count)) settle(used.leaving);", 1),
    (WEIGHTS, "backend_->wait(arriving_[static_cast<std::size_t>(block)]);", 1),
    (WEIGHTS, "backend_->wait(arriving_[places_.size() + slot_of(turn)]);", 1),
    (WEIGHTS, "leaving_[pinned_of(turn)] = arriving_[place];", 1),
    (WEIGHTS, "backend_->synchronize(leaving);", 1),
    (WEIGHTS, "for (const Event& event : leaving_) backend_->synchronize(event);", 1),
]


def mutants(root):
    """(name, file, mutated text), one after another."""
    found = []
    for path, statement, occurrence in DELETIONS:
        text = (root / "include/ltxmem" / path).read_text()
        at = mutate.position(text, path, statement, occurrence)
        line = text.count("\n", 0, at) + 1
        found.append((f"{path}:{line}: delete {statement}", path, text[:at] + text[at + len(statement):]))
    return found


def try_mutant(options, index, mutant):
    """caught, or what is wrong."""
    name, path, text = mutant
    folder = options.work / f"mutant{index}"
    target = folder / "ltxmem" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    compiled = folder / "streaming.cu.o"
    run = subprocess.run([options.nvcc, "-std=c++20", "-O1", "-gencode", "arch=compute_80,code=compute_80",
                          "-cudart=none", "--expt-relaxed-constexpr", "-w", f"-I{folder}", f"-I{options.root}/tests",
                          f"-I{options.root}/include", "-c", f"{options.root}/tests/doubles/streaming.cu", "-o",
                          str(compiled)], capture_output=True, text=True)
    if run.returncode != 0:
        return name, "DOES NOT COMPILE", run.stderr[:600]
    program = folder / "streaming"
    paths = sorted({f"-Wl,-rpath,{pathlib.Path(library).parent}" for library in options.libraries})
    run = subprocess.run([options.compiler, str(compiled), *options.objects, "-Wl,--no-as-needed", *options.libraries,
                          *paths, "-pthread", "-o", str(program)], capture_output=True, text=True)
    if run.returncode != 0:
        return name, "DOES NOT LINK", run.stderr[:600]
    result = mutate.verdict([str(program), "[streaming]", "--abort"])
    for file in (program, compiled):
        file.unlink()
    return name, *result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--nvcc", required=True)
    parser.add_argument("--libraries", nargs="+", required=True)
    mutate.run(parser, mutants, try_mutant)


if __name__ == "__main__":
    main()
