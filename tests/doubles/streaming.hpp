// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// What streams between host and device on CudaBackend, compiled by nvcc. Nothing in it waits for the device but what
/// the primitives themselves wait for, so that one event too few shows.

namespace ltxmem::test::on_device {

/// Passes over blocks of weights; whether the work on every block saw that block.
bool weights_arrive(std::int64_t slots, std::int64_t pinned_slots, std::int64_t resident);

/// Rows of the host go through the slots of one store into those of another, back to the host and in again; whether
/// they are the same rows everywhere.
bool rows_pass(std::int64_t tile);

/// Whether the host has what was stored and not what was staged after it, and rows that are still leaving a slot are
/// read from the host once they are there.
bool staged_rows_stay();

/// Rows of device 1 go through the slots of one store into those of another, to device 2; whether they are the same rows
/// there, and devices reach each other as `direct` says.
bool rows_visit_from_other_devices(std::int64_t tile, bool direct);

/// Takes and gives back memory of a device while another one computes.
void take_memory_of_other_device(int computing, int device, std::size_t bytes);

/// Whether tiles may be written over tiles that are on their way, and a store may go while one is.
bool slots_change_hands();

/// Whether some columns may be read through the slots that whole rows are leaving.
bool columns_share_slots();

/// Whether copies that nobody waited for are done when the backend has been waited for.
bool synchronising_ends_copies();

/// Whether rows come through buffers that are given back as soon as the last work on them is queued.
bool buffers_outlive_their_work();

/// Launches a kernel while weights and rows stream, and waits for it.
void launch_while_streaming();

}  // namespace ltxmem::test::on_device
