// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/card_backend.hpp"

#include <dlfcn.h>

#include <string>
#include <utility>

namespace ltx2 {
namespace {

#ifdef LTX2_WITH_CUDA
/// The library beside the program, loaded once and kept: objects of its types may live as long as the program.
void* card_library() {
  static void* const library = [] {
    void* loaded = ::dlopen("libltx2_card.so", RTLD_NOW | RTLD_LOCAL);
    if (loaded == nullptr) {
      const char* why = ::dlerror();
      throw ltxmem::DeviceError(std::string("no CUDA device can be used: ") + (why != nullptr ? why : "no library"));
    }
    return loaded;
  }();
  return library;
}

template <class Function>
Function* card_function(const char* name) {
  void* symbol = ::dlsym(card_library(), name);
  ltxmem::expects<ltxmem::DeviceError>(symbol != nullptr, "libltx2_card.so: no function ", name);
  return reinterpret_cast<Function*>(symbol);
}
#else
template <class Function>
Function* card_function(const char*) {
  throw ltxmem::ShapeError("--device cuda: this build is without CUDA, whose toolkit was not found; expected cpu");
}
#endif

}  // namespace

std::size_t free_card_memory(int index) {
  return card_function<std::size_t(int)>("ltx2_free_card_memory")(index);
}

CardBackend::CardBackend(int index, std::stop_token stop)
    : card_(card_function<Card*(int)>("ltx2_make_card")(index)), stop_(std::move(stop)) {}

}  // namespace ltx2
