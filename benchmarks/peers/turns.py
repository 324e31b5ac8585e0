# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""What the comparisons with PyTorch have in common: operands, one side after the other, spreads and memory."""

import ctypes
import json
import re
import statistics
import subprocess
import sys
import time

import numpy
import torch

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def some_values(count, seed, size=1.0):
    """The operands of benchmarks/values.hpp, fp32."""
    multiplier = numpy.full(count, 1664525, numpy.uint32)
    powers = numpy.cumprod(multiplier, dtype=numpy.uint32)
    sums = numpy.cumsum(numpy.concatenate([numpy.ones(1, numpy.uint32), powers[:-1]]), dtype=numpy.uint32)
    state = powers * numpy.uint32(seed) + numpy.uint32(1013904223) * sums
    values = (state >> numpy.uint32(8)).astype(numpy.float32) / numpy.float32(8388608) - numpy.float32(1)
    return torch.from_numpy(values * numpy.float32(size))


def measure(binary, name, threads, environment=None):
    """Counters of one benchmark; its rate per second of CPU time with one thread and of wall time with more."""
    command = [binary, f"--benchmark_filter=^{name}$", "--benchmark_format=json"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ran.returncode != 0 or not ran.stdout.strip():
        sys.exit(f"{name}: {binary} ended with {ran.returncode}: {ran.stderr.strip() or 'no such benchmark'}")
    found = json.loads(ran.stdout)["benchmarks"]
    if len(found) != 1:
        sys.exit(f"{binary}: {len(found)} benchmarks are called {name}, expected 1")
    run = found[0]
    if "error_message" in run:
        sys.exit(f"{name}: {run['error_message']}")
    rate = run.get("flop/s", run.get("bytes_per_second", 0.0))
    if threads == 1:
        rate *= run["real_time"] / run["cpu_time"]
    return rate / 1e9, run


def available_limits(binary):
    names = subprocess.run([binary, "--benchmark_list_tests"], check=True, capture_output=True, text=True).stdout
    return {"/".join(name.split("/")[:2]) for name in names.split() if name.startswith("limits/")}


def limit_of(unit, dtype, available):
    """The benchmark that bounds such work on this machine, or None: some processors have no products of bf16."""
    if unit == "GB/s":
        return "limits/copy"
    limits = ("limits/f32_multiply_add",) if dtype == "f32" else ("limits/bf16_tiles", "limits/bf16_pairs")
    return next((limit for limit in limits if limit in available), None)


def measure_limit(binary, limit, threads):
    return measure(binary, f"{limit}/min_time:0.200/real_time/threads:{threads}", threads)[0]


def time_calls(call, threads, repetitions):
    """Seconds of a call, after a first one that is not counted, and its result."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    call()
    start = clock()
    for _ in range(repetitions):
        result = call()
    return (clock() - start) / repetitions, result


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def ratios(mine, others):
    """Of every turn."""
    return spread([one / other for one, other in zip(mine, others)]) if others else ""


def best(rates, unit):
    return f"{max(rates):.3g} {unit}" if rates else ""


def peak_bytes(call):
    """Bytes by which a call raises the resident set at its largest, its result included.

    Meanwhile the allocator maps everything from 64 KiB on by itself, so that what was freed before counts as free; and
    what is free in its heap is held, since it would be used before anything is mapped and be kept when freed again.
    """
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.sbrk.restype, libc.free.argtypes = ctypes.c_void_p, ctypes.c_void_p, [ctypes.c_void_p]
    trim_threshold, mmap_threshold = -1, -3
    libc.mallopt(mmap_threshold, 1 << 16)
    libc.malloc_trim(0)
    held, end = [], libc.sbrk(0)
    while libc.sbrk(0) == end and len(held) < 1 << 16:
        held.append(libc.malloc((1 << 16) - 64))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = _resident("VmRSS")
    result = call()
    peak = _resident("VmHWM")
    del result
    for block in held:
        libc.free(block)
    libc.mallopt(mmap_threshold, 1 << 25)  # where the allocator's own adaptation ends
    libc.mallopt(trim_threshold, 1 << 26)
    return max(0, peak - before)


def _resident(field):
    with open("/proc/self/status") as file:
        return int(re.search(rf"{field}:\s+(\d+) kB", file.read())[1]) * 1024
