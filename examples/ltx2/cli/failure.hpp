// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

#include "cli/exit_code.hpp"
#include "ltxmem/core/error.hpp"

namespace ltx2 {

/// An error whose exit code is known where it happened. Errors without one get theirs from when they happened: before
/// the work starts they are bad input, afterwards failures of the run.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

/// Runs what can only fail because of the run itself (writing results, say): its errors become failed_running. That of
/// a rank stays what it is, which has this exit code anyway and names the rank to whoever decides what to say of it.
template <class Fn>
decltype(auto) as_running(Fn&& fn) {
  try {
    return fn();
  } catch (const Failure&) {
    throw;
  } catch (const ltxmem::Cancelled&) {
    throw;
  } catch (const ltxmem::RankError&) {
    throw;
  } catch (const std::exception& error) {
    throw Failure(ExitCode::failed_running, error.what());
  }
}

}  // namespace ltx2
