#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/scaling.md from plans: memory, messages and time on 1 to 1,024 ranks.

    docs/scaling_table.py build/release/bin/ltx2 docs/scaling.md

Replaces what is between the marks "<!-- NAME begin -->" and "<!-- NAME end -->". Needs the standard library only.
"""
import json
import re
import subprocess
import sys

GIB = 2**30
NETWORKS = ["nvlink", "pcie", "100gbe"]
RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
LONG = (1920, 1088, 2401)  # 301 latent frames of 34 x 60 cells: 614,040 tokens


def plan(program, clip, ranks, scheme, profile, *more, known={}):
    key = (clip, ranks, scheme, profile, more)
    if key not in known:
        width, height, frames = clip
        command = [program, "plan", "--model", "2.3", "--width", str(width), "--height", str(height), "--num-frames",
                   str(frames), "--frame-rate", "24", "--scheme", scheme, "--threads", "2", "--decode-tile", "16",
                   "--device-profile", profile, "--ranks", str(ranks), "--json", *more]
        known[key] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return known[key]


def transformer(job):
    """Seconds of the stages that ranks share, and of them those in which they wait for messages."""
    stages = [stage["planned"] for stage in job["stages"] if stage["name"].startswith("stage")]
    return (sum(stage["seconds"] for stage in stages),
            sum(stage["seconds_by_bound"].get("network", 0) for stage in stages))


def peak(job):
    """Of the stages that ranks share, the largest over ranks."""
    return max(stage["planned"]["peak_bytes"]["device"] for stage in job["stages"] if stage["name"].startswith("stage"))


def duration(seconds):
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def scaling_table(program):
    lines = ["| ranks | GiB per rank | GiB sent per rank | " + " | ".join(NETWORKS) + " |",
             "|---|---|---|" + "---|" * len(NETWORKS)]
    alone, _ = transformer(plan(program, LONG, 1, "E2", "h100", "--weights", "stream"))
    for ranks in RANKS:
        jobs = [plan(program, LONG, ranks, "E2", "h100", "--weights", "stream", "--network", name) for name in NETWORKS]
        sent = max((rank["planned"]["message_bytes"] for rank in jobs[0].get("ranks", [])), default=0)
        cells = []
        for job in jobs:
            seconds, waiting = transformer(job)
            cells.append(f"{duration(seconds)} ({alone / seconds:.1f}x, {100 * waiting / seconds:.0f} % waits)")
        lines.append(f"| {ranks} | {peak(jobs[0]) / GIB:.2f} | {sent / GIB:.1f} | " + " | ".join(cells) + " |")
    return lines


def cards_table(program):
    lines = ["| ranks | scheme | GiB per rank | rank 0 in the whole job | transformer |", "|---|---|---|---|---|"]
    for ranks, scheme, more in [(1, "E2", []), (7, "E1", []), (7, "E2", []), (7, "E2", ["--primary", "idle"])]:
        job = plan(program, LONG, ranks, scheme, "rtx4090", "--weights", "stream", "--network", "pcie", *more)
        seconds, waiting = transformer(job)
        first = job["ranks"][0]["planned"]["peak_bytes"] if "ranks" in job else job["planned"]["peak_bytes"]["device"]
        lines.append(f"| {ranks}{', primary idle' if more else ''} | {scheme} | {peak(job) / GIB:.2f} | {first / GIB:.2f} | "
                     f"{duration(seconds)}, waiting {duration(waiting)} |")
    return lines


def main(program, document):
    with open(document) as file:
        text = file.read()
    for name, table in (("scaling", scaling_table), ("cards", cards_table)):
        lines = "\n".join(table(program))
        text, count = re.subn(rf"(<!-- {name} begin -->\n).*?(<!-- {name} end -->)",
                              lambda match: match[1] + lines + "\n" + match[2], text, flags=re.S)
        if count != 1:
            sys.exit(f"{document}: no marks for the table '{name}'")
    with open(document, "w") as file:
        file.write(text)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
