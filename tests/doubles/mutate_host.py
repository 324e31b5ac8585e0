#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

"""Deletes one event, wait or release at a time from host code, or confuses two slots, and expects the tests of streams
and ranks to fail.

  mutate_host.py --root REPOSITORY --work DIR --nvcc NVCC --objects FILE... --libraries FILE... [--sample N] [--seed S]
                 [--only TEXT] [--limit SECONDS]

Each mutant is compiled by nvcc into tests/doubles/streaming.cu, or tests/cuda/rank_runners.cu for messages between ranks,
and run on the doubles, which is where order shows. The last line is "N passed, N failed": a mutant passes when a test fails
on it.
"""

import argparse
import pathlib
import subprocess
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "simt"))
import mutate  # noqa: E402

BACKEND = "backend/cuda/backend.cuh"
STREAM = "backend/cuda/cuda_stream.hpp"
RESOURCE = "backend/cuda/cuda_resource.hpp"
DEVICE = "backend/cuda/cuda_device.hpp"
PEER = "backend/cuda/cuda_peer.hpp"
ROWS = "stores/host_row_store.hpp"
WEIGHTS = "weights/weight_stream.hpp"
NCCL = "parallel/nccl_communicator.hpp"

# What a mutant is compiled into, the tests that run it, and the machines that they run on.
STREAMING = ("tests/doubles/streaming.cu", "streaming_test.cpp.o", "[streaming]", [{}])
RANKS = ("tests/cuda/rank_runners.cu", "ranks_test.cpp.o", "[ranks]",
         [{"LTXMEM_DOUBLE_DEVICES": "3", "LTXMEM_DOUBLE_SEED": str(seed)} for seed in (0, 7, 8)])

# file, text, replacement, which occurrence of the text (from 1). Staging into the slot in use instead of the other one is no
# mistake: a view holds until the next stage.
EDITS = [
    (BACKEND, "copy_in_.synchronize();", "", 1),
    (BACKEND, "copy_out_.synchronize();", "", 1),
    (BACKEND, "stream_.synchronize();", "", 1),
    (BACKEND, "stream_.record(given_);", "", 1),
    (BACKEND, "copies.wait(given_);", "", 1),
    (BACKEND, "copies.record(*done);", "", 1),
    (BACKEND, "if (event != nullptr) stream_.wait(*event);", "", 1),
    (BACKEND, "if (event != nullptr) event->synchronize();", "", 1),
    (BACKEND, "bytes(to.stride(0)), from.data(), bytes(from.stride(0))",
     "bytes(from.stride(0)), from.data(), bytes(to.stride(0))", 1),
    (STREAM, 'cuda::check("cudaEventSynchronize", cudaEventSynchronize(event_));', "", 1),
    (STREAM, 'cuda::check("cudaEventRecord", cudaEventRecord(event.native(), stream_));', "", 1),
    (STREAM, 'cuda::check("cudaStreamWaitEvent", cudaStreamWaitEvent(stream_, event.native(), 0));', "", 1),
    (STREAM, 'cuda::check("cudaStreamSynchronize", cudaStreamSynchronize(stream_));', "", 1),
    (RESOURCE, "if (pointer != nullptr) static_cast<void>(cudaFreeAsync(pointer, stream_));", "", 1),
    (RESOURCE, "if (pointer != nullptr) static_cast<void>(cudaFreeHost(pointer));", "", 1),
    (PEER, "const CurrentCudaDevice scope(device_);", "", 1),
    (DEVICE, "~CurrentCudaDevice() { static_cast<void>(cudaSetDevice(before_)); }", "", 1),
    (PEER, "if (pointer != nullptr) static_cast<void>(cudaFree(pointer));", "", 1),
    (ROWS, "settle(slots_[current_].arriving);", "", 1),
    (ROWS, "clear(slots_[at]);", "", 1),
    (ROWS, "settle(slots_[at].arriving);", "", 1),
    (ROWS, "settle(slots_[at].leaving);", "", 1),
    (ROWS, "if (overlaps(other, begin, count)) clear(other);", "", 1),
    (ROWS, "for (Slot& slot : slots_) clear(slot);", "", 1),
    (ROWS, "settle(slot.arriving);", "", 1),
    (ROWS, "settle(slot.arriving);", "", 2),
    (ROWS, "settle(slot.leaving);", "", 1),
    (ROWS, "settle(slot.leaving);", "", 2),
    (ROWS, "backend_->wait(transfer.event);", ";", 1),
    (ROWS, "if (overlaps(used, begin, count)) settle(used.leaving);", "", 1),
    (ROWS, "clear(slot);", "", 2),
    (ROWS, "Slot& slot = slots_[1 - current_];", "Slot& slot = slots_[current_];", 1),
    (WEIGHTS, "backend_->wait(arriving_[static_cast<std::size_t>(block)]);", "", 1),
    (WEIGHTS, "backend_->wait(arriving_[places_.size() + slot_of(turn)]);", "", 1),
    (WEIGHTS, "leaving_[pinned] = last;", "", 1),
    (WEIGHTS, "backend_->synchronize(leaving);", "", 1),
    (WEIGHTS, "for (const Event& event : leaving_) backend_->synchronize(event);", "", 1),
    (WEIGHTS, "first_streamed_turn() + used_ + layout_.slots;", "first_streamed_turn() + used_ + layout_.slots + 1;", 1),
    (WEIGHTS, "turn < issued_ + layout_.pinned_slots", "turn <= issued_ + layout_.pinned_slots", 1),
    (NCCL, 'cuda::check("cudaEventRecord", '
           'cudaEventRecord(given.native(), static_cast<cudaStream_t>(backend.stream().native)));', "", 1),
    (NCCL, "state_->stream.wait(given);", "", 1),
    (NCCL, "settle(request.operation_, request.peer_);", "", 1),
    (NCCL, "state_->stream.record(*request.done_);", "", 1),
    (NCCL, "if (request.done_->has_happened()) return true;", "return true;", 1),
    (NCCL, "messages.to, state_->comm", "messages.from, state_->comm", 1),
]


def mutants(options):
    """(name, file, mutated text), one after another; messages only where there is a double of NCCL."""
    root = options.root
    found = []
    has_nccl = any("nccl" in pathlib.Path(library).name for library in options.libraries)
    for path, old, new, occurrence in EDITS:
        if path == NCCL and not has_nccl:
            continue
        text = (root / "include/ltxmem" / path).read_text()
        at = mutate.position(text, path, old, occurrence)
        line = text.count("\n", 0, at) + 1
        found.append((f"{path}:{line}: {old} -> {new or 'nothing'}", path, text[:at] + new + text[at + len(old):]))
    return found


def try_mutant(options, index, mutant):
    """caught, or what is wrong."""
    name, path, text = mutant
    source, tests, cases, machines = RANKS if path == NCCL else STREAMING
    folder = options.work / f"mutant{index}"
    target = folder / "ltxmem" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    compiled = folder / "unit.cu.o"
    run = subprocess.run([options.nvcc, "-std=c++20", "-O1", "-gencode", "arch=compute_80,code=compute_80",
                          "-cudart=none", "--expt-relaxed-constexpr", "-w", f"-I{folder}", f"-I{options.root}/tests",
                          f"-I{options.root}/include", "-c", f"{options.root}/{source}", "-o", str(compiled)],
                         capture_output=True, text=True)
    if run.returncode != 0:
        return name, "DOES NOT COMPILE", run.stderr[:600]
    program = folder / "unit"
    objects = [o for o in options.objects if not o.endswith(".o") or o.endswith(f"/{tests}")]
    paths = sorted({f"-Wl,-rpath,{pathlib.Path(library).parent}" for library in options.libraries})
    run = subprocess.run([options.compiler, str(compiled), *objects, "-Wl,--no-as-needed", *options.libraries, *paths,
                          "-pthread", "-o", str(program)], capture_output=True, text=True)
    if run.returncode != 0:
        return name, "DOES NOT LINK", run.stderr[:600]
    result = ("SURVIVED", "")
    for machine in machines:
        if result[0] == "SURVIVED":
            result = mutate.verdict([str(program), cases, "--abort"], options.limit, machine)
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
