# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Plans of `ltx2 plan`, and the tables that pages of this folder have of them."""
import functools
import json
import re
import subprocess
import sys

GIB = 2**30


@functools.lru_cache(maxsize=None)
def plan(program, clip, *options):
    """Of a clip (width, height, frames) at 24 frames per second, with the 2.3 model and streamed weights."""
    width, height, frames = clip
    command = [program, "plan", "--model", "2.3", "--width", str(width), "--height", str(height), "--num-frames",
               str(frames), "--frame-rate", "24", "--weights", "stream", "--threads", "2", "--json", *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def duration(seconds, decimals=0):
    if seconds < 90:
        return f"{seconds:.{decimals}f} s"
    if seconds < 5400:
        return f"{seconds / 60:.{decimals}f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def write(page, tables):
    """Replaces what is between the marks "<!-- NAME begin -->" and "<!-- NAME end -->" by lines, for each name."""
    with open(page) as file:
        text = file.read()
    for name, lines in tables.items():
        text, count = re.subn(rf"(<!-- {name} begin -->\n).*?(<!-- {name} end -->)",
                              lambda match: match[1] + "\n".join(lines) + "\n" + match[2], text, flags=re.S)
        if count != 1:
            sys.exit(f"{page}: no marks for the table '{name}'")
    with open(page, "w") as file:
        file.write(text)
