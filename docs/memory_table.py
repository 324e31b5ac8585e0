#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/memory.md from plans: which clip fits which card in which scheme, and how long it takes.

    docs/memory_table.py build/release/bin/ltx2 docs/memory.md

Replaces what is between the marks "<!-- NAME begin -->" and "<!-- NAME end -->". Needs the standard library only.
"""
import sys

from plan_tables import GIB, duration, plan, write

RESERVE = GIB // 2  # what driver and code keep for themselves
SCHEMES = ["E1", "E2", "E3", "E4"]
# Memory, and the card whose speed is used for it.
CARDS = [(8, "rtx3060"), (12, "rtx3060"), (16, "rtx4070"), (24, "rtx4090"), (32, "rtx5090")]
CLIPS = [(1280, 704, 121), (1280, 704, 481), (1280, 704, 897), (1920, 1088, 121), (1920, 1088, 257),
         (1920, 1088, 481), (1920, 1088, 897), (1920, 1088, 1001), (3840, 2176, 121), (3840, 2176, 481)]


def scheme_plan(program, clip, scheme, profile):
    return plan(program, clip, "--scheme", scheme, "--device-profile", profile)


def peak(stages, space="device"):
    return max(stage["planned"]["peak_bytes"][space] for stage in stages)


def label(clip):
    width, height, frames = clip
    return f"{width}x{height}, {frames} ({frames / 24:.0f} s)"


def cell(program, clip, gigabytes, profile):
    """The first scheme whose plan leaves the reserve free."""
    for scheme in SCHEMES:
        job = scheme_plan(program, clip, scheme, profile)
        if peak(job["stages"]) <= gigabytes * GIB - RESERVE:
            return f"{scheme}, {duration(job['planned']['seconds'])}"
    return "–"


def card_table(program):
    lines = ["| clip at 24 fps | " + " | ".join(f"{size} GB ({profile})" for size, profile in CARDS) + " |",
             "|---|" + "---|" * len(CARDS)]
    for clip in CLIPS:
        cells = [cell(program, clip, size, profile) for size, profile in CARDS]
        lines.append(f"| {label(clip)} | " + " | ".join(cells) + " |")
    return lines


def scheme_table(program):
    lines = ["| clip at 24 fps | " + " | ".join(f"{scheme} device / pinned" for scheme in SCHEMES) + " | decode device | host |",
             "|---|" + "---|" * (len(SCHEMES) + 2)]
    for clip in CLIPS:
        cells = []
        for scheme in SCHEMES:
            stages = [s for s in scheme_plan(program, clip, scheme, "rtx4090")["stages"] if s["name"].startswith("stage")]
            cells.append(f"{peak(stages) / GIB:.2f} / {peak(stages, 'pinned') / GIB:.2f}")
        decode = [s for s in scheme_plan(program, clip, "E1", "rtx4090")["stages"] if s["name"] == "video decode"]
        host = peak(scheme_plan(program, clip, "E1", "rtx4090")["stages"], "host")
        lines.append(f"| {label(clip)} | " + " | ".join(cells) + f" | {peak(decode) / GIB:.2f} | {host / GIB:.2f} |")
    return lines


def buffer_table(program):
    lines = []
    for clip, scheme, claim in [((1920, 1088, 897), "E1", "on 12 GB"), ((1920, 1088, 1001), "E2", "on 8 GB"),
                                ((3840, 2176, 481), "E1", "on 24 GB")]:
        at = scheme_plan(program, clip, scheme, "rtx4090")["planned"]["at_peak"]["device"]
        lines.append(f"{label(clip)}, {scheme} ({claim}), in {at['step']}:")
        for buffer in at["buffers"][:6]:
            lines.append(f"    {buffer['name']:<28} {buffer['bytes'] / GIB:8.3f} GiB")
    return ["```"] + lines + ["```"]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ltx2, page = sys.argv[1:]
    write(page, {"cards": card_table(ltx2), "schemes": scheme_table(ltx2), "buffers": buffer_table(ltx2)})
