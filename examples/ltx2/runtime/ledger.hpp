// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ltxmem/core/device.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/memory/memory_observer.hpp"
#include "runtime/available_memory.hpp"

namespace ltx2 {

/// Hands out addresses that no program can own, endlessly: memory of a dry run.
class VirtualResource {
 public:
  void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
    next_ = (next_ + alignment - 1) / alignment * alignment;
    void* pointer = reinterpret_cast<void*>(next_);
    next_ += bytes;
    return pointer;
  }
  void deallocate(void*, std::size_t, std::size_t) noexcept {}

 private:
  std::uintptr_t next_ = std::uintptr_t{1} << 58;
};

/// Counts the bytes of one memory space by what they are for, and remembers what was in use when most was. Belongs to
/// one thread at a time.
///
/// Throws    OutOfMemory that names the account and the space when the resource below refuses. Its limit is that of the
///           resource, or where the system refused, what is in use and what the system says is left
class Ledger {
 public:
  /// owner: " of ...", in errors.
  Ledger(ltxmem::MemorySpace space, ltxmem::ResourceRef upstream, std::string owner = {}) noexcept
      : space_(space), upstream_(upstream), owner_(std::move(owner)) {
    peak_.space = space;
  }
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  /// Memory of the resource below under a name; the reference is valid as long as the ledger.
  ltxmem::ResourceRef named(std::string_view name) { return named(name, upstream_); }
  /// The same from another resource.
  ltxmem::ResourceRef named(std::string_view name, ltxmem::ResourceRef upstream) {
    for (Account& known : accounts_) {
      if (known.sum.name == name) return known;
    }
    return accounts_.emplace_back(*this, upstream, ltxmem::BufferSum{std::string(name), 0, 0});
  }
  /// Memory for one workspace; at the peak its contents are named instead.
  ltxmem::ResourceRef workspace(ltxmem::MemoryPeak contents) { return workspace(std::move(contents), upstream_); }
  /// The same from another resource.
  ltxmem::ResourceRef workspace(ltxmem::MemoryPeak contents, ltxmem::ResourceRef upstream) {
    Account& account = accounts_.emplace_back(*this, upstream, ltxmem::BufferSum{"workspace", 0, 0});
    account.contents = std::move(contents);
    return account;
  }

  std::size_t current_bytes() const noexcept { return current_; }
  /// With the step of the largest workspace and the buffers of the moment, largest first.
  const ltxmem::MemoryPeak& peak() const noexcept { return peak_; }

  /// What is in use now, workspaces left out.
  std::vector<ltxmem::BufferSum> held() const {
    std::vector<ltxmem::BufferSum> sums;
    for (const Account& account : accounts_) {
      if (account.sum.bytes > 0 && account.contents.buffers.empty()) sums.push_back(account.sum);
    }
    return sums;
  }

  /// Starts a new measurement: the peak becomes what is in use now.
  void reset_peak() { take_peak(); }

 private:
  struct Account {
    Account(Ledger& owner, ltxmem::ResourceRef from, ltxmem::BufferSum nothing)
        : ledger(owner), upstream(from), sum(std::move(nothing)) {}

    void* allocate(std::size_t bytes, std::size_t alignment) {
      void* pointer = take(bytes, alignment);
      sum.bytes += bytes;
      ++sum.count;
      ledger.current_ += bytes;
      if (ledger.current_ > ledger.peak_.bytes) ledger.take_peak();
      return pointer;
    }
    void deallocate(void* pointer, std::size_t bytes, std::size_t alignment) noexcept {
      sum.bytes -= bytes;
      --sum.count;
      ledger.current_ -= bytes;
      upstream.deallocate(pointer, bytes, alignment);
    }

    void* take(std::size_t bytes, std::size_t alignment) {
      try {
        return upstream.allocate(bytes, alignment);
      } catch (const ltxmem::OutOfMemory& refusal) {
        const std::size_t in_use = std::max(ledger.current_, refusal.in_use_bytes());
        std::size_t limit = refusal.limit_bytes();
        if (limit == ltxmem::OutOfMemory::unlimited) {
          limit = in_use + std::min(available_host_memory(), available_address_space().value_or(limit));
        }
        const std::string space(ltxmem::memory_space_name(ledger.space_));
        throw ltxmem::OutOfMemory(sum.name + " in " + space + " memory" + ledger.owner_, bytes, in_use, limit);
      }
    }

    Ledger& ledger;
    ltxmem::ResourceRef upstream;
    ltxmem::BufferSum sum;
    ltxmem::MemoryPeak contents{};  // of a workspace
  };

  void take_peak() {
    peak_ = {space_, current_, {}, {}};
    std::size_t largest = 0;
    for (const Account& account : accounts_) {
      if (account.sum.bytes == 0) continue;
      const ltxmem::MemoryPeak& contents = account.contents;
      if (contents.buffers.empty()) {
        peak_.buffers.push_back(account.sum);
        continue;
      }
      peak_.buffers.insert(peak_.buffers.end(), contents.buffers.begin(), contents.buffers.end());
      if (account.sum.bytes > largest) peak_.step = contents.step;
      largest = std::max(largest, account.sum.bytes);
    }
    std::stable_sort(peak_.buffers.begin(), peak_.buffers.end(),
                     [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  }

  ltxmem::MemorySpace space_;
  ltxmem::ResourceRef upstream_;
  std::string owner_;
  std::deque<Account> accounts_;  // never moved: references to them are out
  std::size_t current_ = 0;
  ltxmem::MemoryPeak peak_;
};

}  // namespace ltx2
