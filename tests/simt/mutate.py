#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

"""Makes one mistake at a time in the CUDA kernels and expects the tests on the executor to fail.

  mutate.py --root REPOSITORY --work DIR --compiler g++ --catch LIBRARY --objects FILE... [--sample N] [--seed S]
            [--only TEXT] [--limit SECONDS]

Deletes every barrier, wait and commit of the kernels, lets every guard through, one after another, then makes the
mistakes of the list below, which swap operands for the most part. Each mutant is compiled into simt_tests in place of the
kernels it concerns. The last line is "N passed, N failed": a mutant passes when a test fails on it, not when it takes long
(--limit seconds) or is killed. --sample takes a random choice of N, whose seed is printed.
"""

import argparse
import concurrent.futures
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

FOLDER = "include/ltxmem/backend/cuda"
STATEMENT = re.compile(r"^\s*(__syncthreads\(\)|__syncwarp\(\)|cp_async_commit\(\)|cp_async_wait<\d+>\(\));$")

FLASH = "kernels/flash_attention.cuh"
PLAIN = "kernels/plain_attention.cuh"
STATE = "kernels/softmax_state.cuh"
NORM = "kernels/norm.cuh"
ELEMENTWISE = "kernels/elementwise.cuh"
LINEAR = "kernels/linear.cuh"
CONVOLUTION = "kernels/convolution.cuh"
MATRIX = "kernels/matrix_convolution.cuh"
ROWS = "rows.cuh"

# file, text, replacement, which occurrence of the text (from 1)
EDITS = [
    (FLASH, "((piece ^ (row & 7)) * 8)", "piece * 8", 1),
    (FLASH, "const bool valid = first + row < end;", "const bool valid = true;", 1),
    (FLASH, "q, b[0], b[1])", "q, b[1], b[0])", 1),
    (FLASH, "q, b[2], b[3])", "q, b[0], b[1])", 1),
    (FLASH, "p, b[0], b[1])", "p, b[2], b[3])", 1),
    (FLASH, "ldmatrix_x4_trans(b,", "ldmatrix_x4(b,", 1),
    (FLASH, "shared.k[stage ^ 1]", "shared.k[stage]", 1),
    (FLASH, "shared.v[stage ^ 1]", "shared.v[stage]", 1),
    (FLASH, "stage ^= 1;", "", 1),
    (FLASH, "cp_async_wait<0>()", "cp_async_wait<1>()", 1),
    (FLASH, "sum[h] * factor", "sum[h]", 1),
    (FLASH, "accumulator[n][2 * h + 1] *= factor;", "", 1),
    (FLASH, "raised, 2)", "raised, 4)", 1),
    (FLASH, "weights, 1)", "weights, 2)", 1),
    (FLASH, "(scores[2 * k][0], scores[2 * k][1])", "(scores[2 * k][1], scores[2 * k][0])", 1),
    (FLASH, "head / a.heads_per_kv_head * head_dim", "head * head_dim", 1),
    (FLASH, "log2_e * load(a.mask", "load(a.mask", 1),
    (FLASH, "row0 + i / 2 * 8", "row0 + i % 2 * 8", 1),
    (PLAIN, "last + lead + 1", "last + lead", 1),
    (PLAIN, "first + lead + 1 - window", "first + lead + 2 - window", 1),
    (PLAIN, "query >= queries || key >= keys", "key >= keys", 1),
    (PLAIN, "query >= queries || key >= keys", "query >= queries", 1),
    (PLAIN, "distance >= 0", "distance > 0", 1),
    (PLAIN, "distance < window", "distance <= window", 1),
    (PLAIN, "first + lead >= end - 1", "first + lead >= end - 2", 1),
    (PLAIN, "last + lead - begin < window", "last + lead - begin <= window", 1),
    (PLAIN, "mask.data != nullptr || end > keys", "mask.data != nullptr", 1),
    (PLAIN, "mask.data != nullptr || end > keys", "end > keys", 1),
    (PLAIN, "const bool valid = tile + key < a.keys;", "const bool valid = true;", 1),
    (PLAIN, "sum * factor", "sum", 1),
    (PLAIN, "weight, key);", "weight, key ^ 1);", 1),
    (PLAIN, "plain_head_limit + 1]", "plain_head_limit]", 1),
    (STATE, "-std::numeric_limits<float>::infinity()", "0.0F", 1),
    (STATE, "merge.factor_a", "merge.factor_b", 1),
    (STATE, "factor *= load(gate", "factor += load(gate", 1),
    (ROWS, "distance > 0", "distance > 1", 1),
    (ROWS, "index == nullptr ? 0", "true ? 0", 1),
    (ROWS, "value < other ? other", "other < value ? other", 1),
    (NORM, "block_sum(sum, shared.sums)", "block_sum(sum, shared.squares)", 1),
    (NORM, "1.0F + load(scale", "load(scale", 1),
    (NORM, "+ a.weight_offset;", ";", 1),
    (NORM, "low * cosine - high * sine", "low * cosine + high * sine", 1),
    (NORM, "turning % a.axes", "turning / a.axes", 1),
    (NORM, "- a.identity_slots", "", 1),
    (NORM, "? slot % half_dim : a.first", "? slot : a.first", 1),
    (NORM, "a.first_slot + slot", "slot", 1),
    (NORM, "if (a.row_factors != nullptr)", "if (false)", 1),
    (NORM, "c < width; c += row_threads", "c + 1 < width; c += row_threads", 1),
    (ELEMENTWISE, "static_cast<To>(static_cast<float>(piece.at[i]))", "To(0.0F)", 1),
    (LINEAR, "value.at[i] += more.at[i];", "", 1),
    (LINEAR, "value.at[i] += a.bias.at(work.column + i);", "value.at[i] += a.bias.at(work.column);", 1),
    (LINEAR, "value.at[i] *= load(gate + i);", "value.at[i] *= load(gate);", 1),
    (LINEAR, "activate(a.activation, value.at[i])", "value.at[i]", 1),
    (LINEAR, "strength * load(scale)", "load(scale)", 1),
    (CONVOLUTION, "present && first + row < a.positions", "present", 1),
    (CONVOLUTION, "present && first_output + row < a.outputs", "present", 1),
    (CONVOLUTION, "channel + low < a.channels", "true", 1),
    (CONVOLUTION, "sums[i][j] * scale", "sums[i][j]", 1),
    (CONVOLUTION, "before ? 0 : in[axis] - 1", "before ? in[axis] - 1 : 0", 1),
    (CONVOLUTION, "2 * (in[axis] - 1) - at", "2 * in[axis] - 1 - at", 1),
    (CONVOLUTION, "taps[axis] * dilation[axis]", "taps[axis]", 1),
    (CONVOLUTION, "- pad_before[axis]", "", 1),
    (CONVOLUTION, "at / stride >= length", "at / stride > length", 1),
    (CONVOLUTION, "at % stride != 0 ||", "", 1),
    (CONVOLUTION, "output * kernel + tap", "output + tap", 1),
    (CONVOLUTION, "[convolution_tile + 2]", "[convolution_tile]", 1),
    (MATRIX, "weight(output, channel, tap)", "weight(output - panel.begin, channel, tap)", 1),
    (MATRIX, "* a.taps * a.channels + channel", "* a.channels + channel", 1),
    (MATRIX, "((piece ^ (row / 2 % 4)) * 8)", "piece * 8", 1),
    (MATRIX, "/ tiles_across * tile", "* tile", 1),
    (MATRIX, "static_cast<int>(piece * 8 / a.channels)", "0", 1),
    (MATRIX, "piece * 8 % a.channels", "piece * 8", 1),
    (MATRIX, "(first_output - panel.begin + row)", "(first_output + row)", 1),
    (MATRIX, "tap < a.taps && first + row", "first + row", 1),
    (MATRIX, " && first + row + i * loaded_rows < a.positions", "", 1),
    (MATRIX, "const bool seen = patch[i] != nullptr;", "const bool seen = true;", 1),
    (MATRIX, "tap < a.taps && first_output", "first_output", 1),
    (MATRIX, " && first_output + row + i * loaded_rows < panel.end", "", 1),
    (MATRIX, "weights + i * loaded_rows * depth", "weights", 1),
    (MATRIX, "channel >= a.channels", "channel > a.channels", 1),
    (MATRIX, "if (tap != before) look();", "", 1),
    (MATRIX, "(depth + matrix_convolution_depth - 1)", "depth", 1),
    (MATRIX, "cp_async_wait<1>()", "cp_async_wait<2>()", 1),
    (MATRIX, "(step + 2) %", "(step + 1) %", 1),
    (MATRIX, "k * 2 + lane / 16", "k * 2", 1),
    (MATRIX, "p[m], w[0], w[1])", "p[m], w[1], w[0])", 1),
    (MATRIX, "p[m], w[2], w[3])", "p[m], w[0], w[1])", 1),
    (MATRIX, "present ? a.places.target(at) : nullptr", "a.places.target(at)", 1),
    (MATRIX, "const bool present = output < panel.end;", "const bool present = true;", 1),
    (MATRIX, "present && a.bias.data != nullptr", "a.bias.data != nullptr", 1),
    (MATRIX, "present && a.bias.data != nullptr", "present", 1),
    (MATRIX, "lane / 4 + 8 * h", "lane / 4 + 8 * (1 - h)", 1),
    (MATRIX, "sums[m][n][2 * h + 1]", "sums[m][n][2 * h]", 1),
    (MATRIX, "[lane]) * scale + bias", "[lane]) + bias", 1),
    (MATRIX, "matrix_convolution_warp_outputs + 8]", "matrix_convolution_warp_outputs + 4]", 1),
]

# Guards without which nothing changes but time, and why: file, line, which occurrence of the line (from 1).
UNSEEN = {
    (FLASH, "if (!sees_all) {", 1): "pair by pair, the same pairs are hidden and the mask is absent",
    (FLASH, "if (!keep_queries || tile == begin) {", 1): "the same rows of q are read again from shared memory",
    (PLAIN, "if (present) {", 2): "a warp without a row sees no key and stores nothing",
    (CONVOLUTION, "if (padding[axis] == Padding::reflect) at = before ? -at : 2 * (in[axis] - 1) - at;", 1):
        "what replicate has chosen reflects to itself",
    (MATRIX, "if (tap != before) look();", 1): "the same rows are found again",
    (NORM, "if (a.residual.data != nullptr) value += static_cast<float>(before.at[i]);", 1): "zeros are added",
    (LINEAR, "if (a.residual.data != nullptr) value.at[i] += static_cast<float>(before.at[i]);", 1): "zeros are added",
}

CONCERNS = {FLASH: ["attention_kernels"], PLAIN: ["attention_kernels"], STATE: ["attention_kernels"],
            NORM: ["row_kernels"], ELEMENTWISE: ["row_kernels"], LINEAR: ["row_kernels"],
            CONVOLUTION: ["convolution_kernels"], MATRIX: ["convolution_kernels"], ROWS: ["attention_kernels", "row_kernels"]}
CASES = {FLASH: "[flash][quick],[counters]", PLAIN: "[flash][quick],[plain][quick],[counters]",
         STATE: "[state],[plain][quick],[flash][quick]", NORM: "[norm],[head norm]", ELEMENTWISE: "[elementwise]",
         LINEAR: "[linear]", CONVOLUTION: "[convolution]", MATRIX: "[matrix convolution]", ROWS: "[norm],[linear],[plain][quick]"}


def position(text, path, old, occurrence):
    """Where the text has it; an edit that no longer applies is an error of the script."""
    at = -1
    for _ in range(occurrence):
        at = text.find(old, at + 1)
        if at < 0:
            sys.exit(f"mutate.py: {path} no longer has {old!r}")
    return at


def verdict(command, limit, surroundings=()):
    """Of a mutant's program: caught and by what, or what is wrong."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=limit, env={**os.environ, **dict(surroundings)})
    except subprocess.TimeoutExpired:
        return "TOO SLOW", ""  # the executor ends deadlocks itself, so this says nothing about the mutant
    if run.returncode == 0:
        return "SURVIVED", ""
    if run.returncode == -signal.SIGKILL:
        return "KILLED", ""  # by somebody else: no check failed
    if run.returncode < 0:
        return "caught", f"by signal {-run.returncode}"
    return "caught", next((line.strip()[:120] for line in run.stdout.splitlines()
                           if re.search(r'"(race|read|out|write|diver|a |dead|cp\.|misal|copy|use)', line)),
                          "by a wrong value")


def guards(text):
    """(begin, end) of every condition of an if, and what stands for it when the guard is gone: an early end never happens,
    anything else always does."""
    for match in re.finditer(r"\bif \(", text):
        depth, end = 1, match.end()
        while depth > 0:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        yield match.end(), end - 1, "false" if re.match(r"\s*(return|continue)\b", text[end:]) else "true"


def mutants(options):
    """(name, file, mutated text), one after another; an edit that no longer applies is an error of this script."""
    root = options.root
    found = []

    def add(name, path, text):
        if all(text != other for _, _, other in found):
            found.append((name, path, text))

    for path in [ROWS, *sorted(f"kernels/{p.name}" for p in (root / FOLDER / "kernels").glob("*.cuh"))]:
        lines = (root / FOLDER / path).read_text().splitlines(keepends=True)
        for number, line in enumerate(lines):
            if STATEMENT.match(line.rstrip("\n")):
                text = "".join(lines[:number] + ["\n"] + lines[number + 1:])
                add(f"{path}:{number + 1}: delete {line.strip()}", path, text)
        text = "".join(lines)
        for begin, end, instead in guards(text):
            number = text.count("\n", 0, begin)
            same = [line.strip() for line in lines[:number + 1]].count(lines[number].strip())
            if (path, lines[number].strip(), same) not in UNSEEN:
                add(f"{path}:{number + 1}: {text[begin:end]} -> {instead}", path, text[:begin] + instead + text[end:])
    for path, old, new, occurrence in EDITS:
        text = (root / FOLDER / path).read_text()
        at = position(text, path, old, occurrence)
        line = text.count("\n", 0, at) + 1
        add(f"{path}:{line}: {old} -> {new or 'nothing'}", path, text[:at] + new + text[at + len(old):])
    return found


def try_mutant(options, index, mutant):
    """caught, or what is wrong."""
    name, path, text = mutant
    folder = options.work / f"mutant{index}"
    target = folder / "ltxmem/backend/cuda" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    replaced = []
    objects = list(options.objects)
    for unit in CONCERNS[path]:
        compiled = folder / f"{unit}.o"
        command = [options.compiler, "-std=c++20", "-O1", "-w", "-U_FORTIFY_SOURCE", "-fsanitize=thread",
                   "--param=tsan-instrument-func-entry-exit=0", f"-I{folder}",
                   f"-I{options.root}/tests/simt/replacement", f"-I{options.root}/tests", f"-I{options.root}/include",
                   "-c", f"{options.root}/tests/simt/{unit}.cpp", "-o", str(compiled)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            return name, "DOES NOT COMPILE", run.stderr[:600]
        objects = [o for o in objects if not o.endswith(f"/{unit}.cpp.o")]
        replaced.append(str(compiled))
    program = folder / "simt_tests"
    run = subprocess.run([options.compiler, *replaced, *objects, options.catch, "-o", str(program)],
                         capture_output=True, text=True)
    if run.returncode != 0:
        return name, "DOES NOT LINK", run.stderr[:600]
    result = verdict([str(program), CASES[path], "--abort"], options.limit)
    for file in [program, *map(pathlib.Path, replaced)]:
        file.unlink()
    return name, *result


def run(parser, mutants, try_mutant):
    """Reads the options, tries the mutants chosen by them and ends the program."""
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--objects", nargs="+", required=True)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=int, default=300)
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants(options) if options.only in mutant[0]]
    print(f"{len(chosen)} mutants", flush=True)
    if options.sample:
        print(f"a sample of {options.sample}, seed {options.seed}", flush=True)
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    caught = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        tries = [pool.submit(try_mutant, options, index, mutant) for index, mutant in enumerate(chosen)]
        for attempt in concurrent.futures.as_completed(tries):
            name, verdict, reason = attempt.result()
            caught += verdict == "caught"
            print(f"{verdict:8} {name}  {reason}", flush=True)
    print(f"{caught} passed, {len(chosen) - caught} failed")
    sys.exit(caught != len(chosen) or not chosen)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--catch", required=True)
    run(parser, mutants, try_mutant)


if __name__ == "__main__":
    main()
