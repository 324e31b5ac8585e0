// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "ltxmem/backend/concepts.hpp"

/// The loops over tiles, blocks and steps, in the one form that a dry run can collapse, and names for what runs in
/// them.

namespace ltxmem {

/// Names the work done while it lives: `Step step(backend, "block", 3);`. The name is kept by pointer: use a literal.
template <HasSteps Backend>
class Step {
 public:
  Step(Backend& backend, const char* name, std::int64_t index = -1) : backend_(backend) {
    backend.enter_step(name, index);
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;
  ~Step() { backend_.leave_step(); }

 private:
  Backend& backend_;
};

/// body(i) for i in [0, count), in order. A collapsing backend sees turns 0, 1 and 2 (this one recorded count - 4
/// times) and the last two: every turn but the last two must do the same work on the same shapes. Two turns at either
/// end, because two slots take turns: what is prefetched for the ragged last tile is issued one turn earlier, and what
/// waits for a slot waits for the turn before the last.
///
/// The whole loop is one begin_repeated(1) ... end_repeated(), so that a recording knows where it began. Slots that
/// rotate must do so by use, not by i, since i jumps.
template <HasSteps Backend, class Body>
void repeat(Backend& backend, std::int64_t count, Body&& body) {
  if (!backend.collapses_loops() || count <= 5) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  backend.begin_repeated(1);
  body(std::int64_t{0});
  body(std::int64_t{1});
  backend.begin_repeated(count - 4);
  body(std::int64_t{2});
  backend.end_repeated();
  body(count - 2);
  body(count - 1);
  backend.end_repeated();
}

/// body(begin, count) for consecutive tiles of [0, total), all of the given size but the last. total 0: no call.
template <HasSteps Backend, class Body>
void for_each_tile(Backend& backend, std::int64_t total, std::int64_t tile, Body&& body) {
  expects(tile > 0, "for_each_tile: tile ", tile, ", expected at least 1");
  repeat(backend, ceil_div(total, tile), [&](std::int64_t i) { body(i * tile, std::min(tile, total - i * tile)); });
}

}  // namespace ltxmem
