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

/// body(i) for i in [0, count), in order. A collapsing backend sees the first, the second (recorded count - 2 times)
/// and the last turn: every turn but the first and last must do the same work on the same shapes.
template <HasSteps Backend, class Body>
void repeat(Backend& backend, std::int64_t count, Body&& body) {
  if (!backend.collapses_loops() || count <= 3) {
    for (std::int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  body(std::int64_t{0});
  backend.begin_repeated(count - 2);
  body(std::int64_t{1});
  backend.end_repeated();
  body(count - 1);
}

/// body(begin, count) for consecutive tiles of [0, total), all of the given size but the last. total 0: no call.
template <HasSteps Backend, class Body>
void for_each_tile(Backend& backend, std::int64_t total, std::int64_t tile, Body&& body) {
  expects(tile > 0, "for_each_tile: tile ", tile, ", expected at least 1");
  repeat(backend, ceil_div(total, tile), [&](std::int64_t i) { body(i * tile, std::min(tile, total - i * tile)); });
}

}  // namespace ltxmem
