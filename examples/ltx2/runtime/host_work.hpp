// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <optional>
#include <utility>

#include "ltxmem/core/resource.hpp"

namespace ltx2 {

/// Memory for host tensors and the leave to compute on them: what code between the models (noise, solvers, guidance)
/// works with, so that it can be planned like the models. In a dry run the memory has addresses that must not be
/// dereferenced and run() leaves the computation out; allocations stay outside of run(), where both kinds of run see
/// them.
///
/// Cheap to copy; what it is made of must outlive it.
class HostWork {
 public:
  /// Who hands out the memory and knows whether this is a dry run.
  class Source {
   public:
    virtual ltxmem::ResourceRef host_memory(const char* name) = 0;
    virtual ltxmem::ResourceRef host_values(const char* name) = 0;
    virtual bool is_dry() const noexcept = 0;

   protected:
    Source() = default;
    Source(const Source&) = default;
    Source& operator=(const Source&) = default;
    ~Source() = default;
  };

  explicit HostWork(Source& source) : source_(&source) {}

  /// Memory from a resource, and every computation is done.
  template <ltxmem::MemoryResource R>
  requires(!std::same_as<R, HostWork>) HostWork(R& resource)  // NOLINT(google-explicit-constructor): like ResourceRef
      : resource_(ltxmem::ResourceRef(resource)) {}

  /// Memory for a tensor; the name (a literal) is what plans call it.
  ltxmem::ResourceRef memory(const char* name) const {
    return source_ != nullptr ? source_->host_memory(name) : *resource_;
  }

  /// Memory for the few values that decide how much work there is (positions, masks, timesteps): counted alike, but
  /// real in a dry run as well, and computed there.
  ltxmem::ResourceRef values(const char* name) const {
    return source_ != nullptr ? source_->host_values(name) : *resource_;
  }

  template <class Fn>
  void run(Fn&& fn) const {
    if (source_ == nullptr || !source_->is_dry()) std::forward<Fn>(fn)();
  }

 private:
  Source* source_ = nullptr;
  std::optional<ltxmem::ResourceRef> resource_;
};

}  // namespace ltx2
