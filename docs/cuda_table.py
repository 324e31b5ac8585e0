#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/cuda.md from the profiles of cards: predicted times of the benchmarks' work.

    docs/cuda_table.py build/release/bin/ltxmem_predicted_times docs/cuda.md

Replaces what is between the marks "<!-- NAME begin -->" and "<!-- NAME end -->". Needs the standard library only.
"""
import subprocess
import sys

from plan_tables import write


def main():
    program, page = sys.argv[1:]
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    attention, others = printed.strip().split("\n\n")
    write(page, {"attention": attention.splitlines(), "products": others.splitlines()})


if __name__ == "__main__":
    main()
