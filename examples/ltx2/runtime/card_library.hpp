// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace ltx2 {

/// Why a library beside the program cannot be used.
class LibraryError : public std::runtime_error {
 public:
  /// is_absent: it is not there at all, rather than something that it needs.
  LibraryError(const std::string& why, bool is_absent) : std::runtime_error(why), is_absent_(is_absent) {}
  bool is_absent() const noexcept { return is_absent_; }

 private:
  bool is_absent_;
};

/// A function of a library that lies beside the program: it is loaded when first asked for and kept, since objects of
/// its types may live as long as the program. Throws LibraryError.
void* library_function(const char* library, const char* function);

template <class Function>
Function* library_function(const char* library, const char* function) {
  return reinterpret_cast<Function*>(library_function(library, function));
}

}  // namespace ltx2
