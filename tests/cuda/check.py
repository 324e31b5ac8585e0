#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

"""Compiles the kernels for one architecture and checks what nvcc made of them.

  check.py compile --nvcc NVCC --source kernels.cu --include DIR... --arch 80 --output DIR
  check.py check --arch 80 --output DIR --budget budget.txt [--write]

compile makes PTX and machine code with every warning an error and keeps what ptxas -v says. check compares that with the
budget (registers at most, shared bytes exactly, no spills, no stack in local memory but what the budget names), and looks
into the PTX: kernels on the matrix units have mma.sync, ldmatrix and cp.async; no kernel has ld.local or st.local. --write
puts this architecture into the budget instead of comparing.
"""

import argparse
import pathlib
import re
import subprocess
import sys

MATRIX_UNITS = ("mma.sync.aligned.m16n8k16", "ldmatrix.sync", "cp.async.cg.shared.global", "cp.async.commit_group",
                "cp.async.wait_group")
EXPECTED = {"flash_attention": (*MATRIX_UNITS, ".trans", "ex2.approx"), "matrix_convolution": MATRIX_UNITS}


def compile_kernels(options):
    """Leaves PTX, a cubin, the log of ptxas and the list of headers behind."""
    pathlib.Path(options.output).mkdir(parents=True, exist_ok=True)
    stem = f"{options.output}/kernels.sm_{options.arch}"
    subprocess.run([options.nvcc, "-std=c++20", f"-arch=sm_{options.arch}", "-Werror", "all-warnings",
                    "--expt-relaxed-constexpr", *(f"-I{folder}" for folder in options.include), options.source, "-ptx", "-o", f"{stem}.ptx",
                    "-MD", "-MF", f"{stem}.d", "-MT", f"{stem}.log"], check=True)
    ptxas = [str(pathlib.Path(options.nvcc).parent / "ptxas"), "-v", "-Werror",
             f"-arch=sm_{options.arch}", f"{stem}.ptx", "-o", f"{stem}.cubin"]
    run = subprocess.run(ptxas, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(run.stderr)
    pathlib.Path(f"{stem}.log").write_text(run.stderr)


def template_arguments(rest):
    """The arguments behind an I, and what follows its E."""
    arguments = []
    while rest[0] != "E":
        if found := re.match(r"f|S\d*_|Li(\d+)E", rest):
            arguments.append(found.group(1) or ("float" if found.group(0) == "f" else "same"))
            rest = rest[found.end():]
        elif found := re.match(r"N(S\d*_)?", rest):
            rest = rest[found.end():]
            while rest[0] != "E":
                found = re.match(r"\d+", rest)
                end = found.end() + int(found.group(0))
                name, rest = rest[found.end():end], rest[end:]
                if rest[0] == "I":
                    inner, rest = template_arguments(rest[1:])
                    name += f"<{','.join(inner)}>"
            arguments.append(name)
            rest = rest[1:]
        else:
            raise ValueError(rest)
    return arguments, rest[1:]


def short_name(mangled):
    """flash_attention<bfloat16,128,64> from the mangled name, which is all that a toolkit without cu++filt has."""
    match = re.match(r"_ZN6ltxmem4cuda(\d+)", mangled)
    if not match:
        return mangled
    end = match.end() + int(match.group(1))
    name, rest = mangled[match.end():end], mangled[end:]
    return f"{name}<{','.join(template_arguments(rest[1:])[0])}>"


def parse(log):
    kernels = {}
    for block in log.split("Compiling entry function")[1:]:
        name = short_name(re.search(r"'([^']+)'", block).group(1))
        assert name not in kernels, name
        stack, stores, loads = map(int, re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", block).groups())
        shared = re.search(r"(\d+) bytes smem", block)
        kernels[name] = {"registers": int(re.search(r"Used (\d+) registers", block).group(1)),
                         "shared": int(shared.group(1)) if shared else 0, "local": stack + stores + loads}
    return kernels


def read_budget(path):
    budget = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            arch, name, registers, shared, *local = line.split()
            budget[arch, name] = (int(registers), int(shared), int(local[0]) if local else 0)
    return budget


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=("compile", "check"))
    parser.add_argument("--arch", required=True)
    parser.add_argument("--output", required=True)
    for name in ("nvcc", "source"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--include", nargs="+")
    parser.add_argument("--budget", type=pathlib.Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.action == "compile":
        compile_kernels(options)
        return
    stem = f"{options.output}/kernels.sm_{options.arch}"
    ptx = pathlib.Path(f"{stem}.ptx").read_text()
    kernels = parse(pathlib.Path(f"{stem}.log").read_text())
    arch = f"sm_{options.arch}"
    problems = []
    if not kernels:
        problems.append("ptxas named no kernel")

    budget = read_budget(options.budget) if options.budget.exists() else {}
    mine = {key[1]: value for key, value in budget.items() if key[0] == arch}
    for entry in re.split(r"\.entry ", ptx)[1:]:
        name = short_name(re.match(r"\w+", entry).group(0))
        if re.search(r"\b(ld|st)\.local", entry) and mine.get(name, (0, 0, 0))[2] == 0 and not options.write:
            problems.append(f"{name}: PTX uses local memory")
        for word in EXPECTED.get(name.split("<")[0], ()):
            if word not in entry:
                problems.append(f"{name}: PTX has no {word}")
    if options.write:
        budget = {key: value for key, value in budget.items() if key[0] != arch}
        budget.update({(arch, name): (used["registers"], used["shared"], used["local"]) for name, used in kernels.items()})
        lines = [f"{key[0]:8} {key[1]:45} {value[0]:4} {value[1]:6}" + (f" {value[2]:4}" if value[2] else "")
                 for key, value in sorted(budget.items())]
        head = ["# SPDX-FileCopyrightText: The ltxmem authors", "# SPDX-License-Identifier: Apache-2.0", "",
                "# architecture, kernel, registers at most, bytes of static shared memory, of stack and spills where there are",
                "# any; nvcc of CUDA 13.0"]
        options.budget.write_text("\n".join(head + lines) + "\n")
    else:
        for name in sorted(mine.keys() ^ kernels.keys()):
            problems.append(f"{name}: {'is not built' if name in mine else 'has no line in the budget'}")
        for name in sorted(mine.keys() & kernels.keys()):
            registers, shared, local = mine[name]
            if kernels[name]["registers"] > registers:
                problems.append(f"{name}: {kernels[name]['registers']} registers, the budget has {registers}")
            if kernels[name]["shared"] != shared:
                problems.append(f"{name}: {kernels[name]['shared']} bytes of shared memory, the budget has {shared}")
            if kernels[name]["local"] > local:
                problems.append(f"{name}: {kernels[name]['local']} bytes of stack and spills, the budget has {local}")
    for problem in problems:
        print(f"{arch}: {problem}")
    if problems:
        sys.exit(1)
    print(f"{arch}: {len(kernels)} kernels within their budget")


if __name__ == "__main__":
    main()
