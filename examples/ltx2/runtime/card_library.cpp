// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/card_library.hpp"

#include <dlfcn.h>

namespace ltx2 {

void* library_function(const char* library, const char* function) {
  void* loaded = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);  // the same one every time
  if (loaded == nullptr) {
    const char* why = ::dlerror();
    const std::string text = why != nullptr ? why : "no library";
    throw LibraryError(text, text.starts_with(std::string(library) + ":"));
  }
  void* symbol = ::dlsym(loaded, function);
  if (symbol == nullptr) throw LibraryError(std::string(library) + ": no function " + function, false);
  return symbol;
}

}  // namespace ltx2
