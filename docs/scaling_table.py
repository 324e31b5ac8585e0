#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/scaling.md from plans: memory, messages and time on 1 to 1,024 ranks.

    docs/scaling_table.py build/release/bin/ltx2 docs/scaling.md

Replaces what is between the marks "<!-- NAME begin -->" and "<!-- NAME end -->". Needs the standard library only.
"""
import sys

from plan_tables import GIB, duration, plan, write

NETWORKS = ["nvlink", "pcie", "100gbe"]
RANKS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
FEW_RANKS = [2, 4, 8, 16, 32, 64]
LAYOUTS = ["sequence", "tensor", "both"]
LONG = (1920, 1088, 2401)  # 301 latent frames of 34 x 60 cells: 614,040 tokens
SHORT = (768, 512, 121)  # 16 latent frames of 16 x 24 cells: 6,144 tokens


def ranks_plan(program, ranks, scheme, profile, network, *more, clip=LONG):
    return plan(program, clip, "--scheme", scheme, "--decode-tile", "16", "--device-profile", profile, "--network",
                network, "--ranks", str(ranks), *more)


def transformer(job):
    """Seconds of the stages that ranks share, and of them those in which they wait for messages."""
    stages = [stage["planned"] for stage in job["stages"] if stage["name"].startswith("stage")]
    return (sum(stage["seconds"] for stage in stages),
            sum(stage["seconds_by_bound"].get("network", 0) for stage in stages))


def peak(job):
    """Of the stages that ranks share, the largest over ranks."""
    return max(stage["planned"]["peak_bytes"]["device"] for stage in job["stages"] if stage["name"].startswith("stage"))


def scaling_table(program):
    lines = ["| ranks | GiB per rank | GiB sent per rank | " + " | ".join(NETWORKS) + " |",
             "|---|---|---|" + "---|" * len(NETWORKS)]
    alone, _ = transformer(ranks_plan(program, 1, "E2", "h100", NETWORKS[0]))
    for ranks in RANKS:
        jobs = [ranks_plan(program, ranks, "E2", "h100", name) for name in NETWORKS]
        sent = max((rank["planned"]["message_bytes"] for rank in jobs[0].get("ranks", [])), default=0)
        cells = []
        for job in jobs:
            seconds, waiting = transformer(job)
            cells.append(f"{duration(seconds, 1)} ({alone / seconds:.1f}x, {100 * waiting / seconds:.0f} % waits)")
        lines.append(f"| {ranks} | {peak(jobs[0]) / GIB:.2f} | {sent / GIB:.1f} | " + " | ".join(cells) + " |")
    return lines


def layouts_table(program, clip):
    lines = ["| ranks | parallel | GiB per rank | GiB sent per rank | " + " | ".join(NETWORKS) + " |",
             "|---|---|---|---|" + "---|" * len(NETWORKS)]
    alone_job = ranks_plan(program, 1, "E2", "h100", NETWORKS[0], clip=clip)
    alone, _ = transformer(alone_job)
    lines.append(f"| 1 | none | {peak(alone_job) / GIB:.2f} | 0.0 | " +
                 " | ".join([duration(alone, 1)] * len(NETWORKS)) + " |")
    for ranks in FEW_RANKS:
        for layout in LAYOUTS:
            jobs = [ranks_plan(program, ranks, "E2", "h100", name, "--parallel", layout, clip=clip) for name in NETWORKS]
            if layout == "both" and jobs[0]["grid"]["sharing_heads"] == 1:
                continue
            sent = max(rank["planned"]["message_bytes"] for rank in jobs[0]["ranks"])
            cells = [f"{duration(seconds, 1)} ({alone / seconds:.1f}x)" for seconds, _ in map(transformer, jobs)]
            grid = jobs[0]["grid"]
            name = f"both, {grid['sharing_tokens']} x {grid['sharing_heads']}" if layout == "both" else layout
            lines.append(f"| {ranks} | {name} | {peak(jobs[0]) / GIB:.2f} | {sent / GIB:.1f} | " + " | ".join(cells) + " |")
    return lines


def degrees_table(program):
    lines = ["| ranks | " + " | ".join(f"{name}, ring | {name}, best degree" for name in NETWORKS) + " |",
             "|---|" + "---|---|" * len(NETWORKS)]
    for ranks in FEW_RANKS:
        cells = []
        for name in NETWORKS:
            for degree in ["1", "auto"]:
                job = ranks_plan(program, ranks, "E2", "h100", name, "--ulysses-degree", degree)
                seconds, waiting = transformer(job)
                sent = max(rank["planned"]["message_bytes"] for rank in job["ranks"])
                chosen = "" if degree == "1" else f"{job['settings']['ulysses-degree']}: "
                cells.append(f"{chosen}{duration(seconds, 1)} ({100 * waiting / seconds:.0f} %), {peak(job) / GIB:.2f}, "
                             f"{sent / GIB:.0f}")
        lines.append(f"| {ranks} | " + " | ".join(cells) + " |")
    return lines


def cards_table(program):
    lines = ["| ranks | scheme | GiB per rank | rank 0 in the whole job | transformer |", "|---|---|---|---|---|"]
    for ranks, scheme, more in [(1, "E2", []), (7, "E1", []), (7, "E2", []), (7, "E2", ["--primary", "idle"])]:
        job = ranks_plan(program, ranks, scheme, "rtx4090", "pcie", *more)
        seconds, waiting = transformer(job)
        first = job["ranks"][0]["planned"]["peak_bytes"] if "ranks" in job else job["planned"]["peak_bytes"]["device"]
        lines.append(f"| {ranks}{', primary idle' if more else ''} | {scheme} | {peak(job) / GIB:.2f} | {first / GIB:.2f} | "
                     f"{duration(seconds, 1)}, waiting {duration(waiting, 1)} |")
    return lines


def stores_table(program):
    lines = ["| computes | scheme | beside it | device GiB | pinned host GiB | a store GiB | blocks there | transformer | "
             "of that waiting for rows and weights |", "|---|---|---|---|---|---|---|---|---|"]
    for card, network in [("rtx4090", "pcie"), ("h100", "nvlink")]:
        for scheme in ["E3", "E4"]:
            for store in ["host", "cuda:1,2"]:
                job = plan(program, LONG, "--scheme", scheme, "--decode-tile", "16", "--device-profile", card,
                           "--network", network, "--store", store)
                seconds, _ = transformer(job)
                stages = [stage["planned"] for stage in job["stages"] if stage["name"].startswith("stage")]
                waits = sum(time for stage in stages for bound, time in stage["seconds_by_bound"].items()
                            if bound.startswith(("copy", "peer", "disk")))
                pinned = max(stage["peak_bytes"]["pinned"] for stage in stages)
                stored = [f"{most['planned']['peak_bytes'] / GIB:.2f}" for most in job.get("stores", [])]
                beside = "host" if store == "host" else f"two {card}, {network}"
                blocks = job["settings"]["stored-blocks"] if stored else "–"
                lines.append(f"| {card} | {scheme} | {beside} | {peak(job) / GIB:.2f} | {pinned / GIB:.2f} | "
                             f"{stored[0] if stored else '–'} | {blocks} | {duration(seconds, 1)} | "
                             f"{duration(waits, 1)} |")
    return lines


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ltx2, page = sys.argv[1:]
    write(page, {"scaling": scaling_table(ltx2), "layouts": layouts_table(ltx2, LONG),
                 "short": layouts_table(ltx2, SHORT), "degrees": degrees_table(ltx2), "cards": cards_table(ltx2),
                 "stores": stores_table(ltx2)})
