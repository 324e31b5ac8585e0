// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/card_backend.hpp"

#include <string>
#include <utility>

#include "runtime/card_library.hpp"

namespace ltx2 {
namespace {

template <class Function>
Function* card_function([[maybe_unused]] const char* name) {
#ifdef LTX2_WITH_CUDA
  try {
    return library_function<Function>("libltx2_card.so", name);
  } catch (const LibraryError& error) {
    throw ltxmem::DeviceError(std::string("no CUDA device can be used: ") + error.what());
  }
#else
  throw ltxmem::ShapeError("--device cuda: this build is without CUDA, whose toolkit was not found; expected cpu");
#endif
}

}  // namespace

int count_cards() {
  return card_function<int()>("ltx2_count_cards")();
}

std::size_t free_card_memory(int index) {
  return card_function<std::size_t(int)>("ltx2_free_card_memory")(index);
}

CardBackend::CardBackend(int index, std::stop_token stop)
    : card_(card_function<Card*(int)>("ltx2_make_card")(index)), stop_(std::move(stop)) {}

}  // namespace ltx2
