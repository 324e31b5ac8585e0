// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dlfcn.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "simt/executor.hpp"

/// How the libcudart double comes by kernels: a shared object that g++ made of the same sources, for the executor, hands it
/// each of them. Host code that nvcc compiled launches them by their mangled name, which both compilers make alike.

namespace doubles {

using Launch = std::function<simt::Report(const simt::Options&)>;

/// What is left of a kernel's type: keeps the arguments, as a launch does, and runs it later.
using Kernel = std::function<Launch(simt::Extent3 grid, simt::Extent3 block, std::size_t shared_bytes, void** arguments)>;

void provide_kernel(const std::string& mangled_name, Kernel kernel);

template <class... P, std::size_t... i>
Launch prepare(void (*kernel)(P...), simt::Extent3 grid, simt::Extent3 block, std::size_t shared_bytes, void** arguments,
               std::index_sequence<i...>) {
  return [=, values = std::tuple<P...>(*static_cast<P*>(arguments[i])...)](const simt::Options& options) {
    return simt::launch(kernel, grid, block, shared_bytes, options, std::get<i>(values)...);
  };
}

/// Provides a kernel that lies in a shared object under its own name.
template <class... P>
void provide(void (*kernel)(P...)) {
  Dl_info symbol{};
  if (dladdr(reinterpret_cast<const void*>(kernel), &symbol) == 0 || symbol.dli_sname == nullptr) {
    throw std::logic_error("a kernel is provided by a shared object that does not export it");
  }
  provide_kernel(symbol.dli_sname, [kernel](simt::Extent3 grid, simt::Extent3 block, std::size_t shared_bytes,
                                            void** arguments) {
    return prepare(kernel, grid, block, shared_bytes, arguments, std::index_sequence_for<P...>{});
  });
}

}  // namespace doubles
