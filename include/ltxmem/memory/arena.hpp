// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/core/tensor_view.hpp"
#include "ltxmem/memory/memory_observer.hpp"

/// Workspace: one block of memory from which buffers are taken in stack order.
///
/// A caller asks a primitive for workspace_bytes, makes an arena of that size once and hands it in; nothing is
/// allocated while work runs. Every buffer starts at a multiple of buffer_alignment and occupies aligned_bytes(its
/// size). Buffers are named, so that a plan (a Record that observes the arena) can say what was alive at the peak.
///
/// A virtual arena has no memory behind it: its addresses must never be dereferenced and it never runs out. A dry run
/// works in one and reads the peak afterwards. It may report what it takes and gives back to a MemoryObserver, which
/// must outlive its use.

namespace ltxmem {

class Arena {
 public:
  /// Owns a block of the given size from a resource.
  Arena(ResourceRef resource, std::size_t capacity_bytes)
      : resource_(resource),
        base_(static_cast<std::byte*>(resource.allocate(capacity_bytes, buffer_alignment))),
        capacity_(capacity_bytes) {}

  /// Borrows a block; base must be aligned to buffer_alignment.
  Arena(void* base, std::size_t capacity_bytes) : base_(static_cast<std::byte*>(base)), capacity_(capacity_bytes) {
    expects(reinterpret_cast<std::uintptr_t>(base) % buffer_alignment == 0, "arena: base is not aligned to ",
            buffer_alignment, " bytes");
  }

  /// Endless arena of addresses that must not be dereferenced.
  static Arena make_virtual() {
    constexpr std::uintptr_t base = std::uintptr_t{1} << 44;
    return {reinterpret_cast<void*>(base), std::size_t{1} << 61};
  }

  /// The same, reporting to an observer as memory of the given space.
  static Arena make_virtual(MemorySpace space, MemoryObserver& observer) {
    Arena arena = make_virtual();
    arena.space_ = space;
    arena.observer_ = &observer;
    return arena;
  }

  Arena(Arena&& other) noexcept
      : resource_(std::exchange(other.resource_, std::nullopt)),
        base_(std::exchange(other.base_, nullptr)),
        capacity_(std::exchange(other.capacity_, 0)),
        used_(std::exchange(other.used_, 0)),
        peak_(std::exchange(other.peak_, 0)),
        space_(other.space_),
        observer_(std::exchange(other.observer_, nullptr)),
        live_(std::move(other.live_)) {}
  Arena& operator=(Arena&&) = delete;
  ~Arena() {
    if (resource_) resource_->deallocate(base_, capacity_, buffer_alignment);
  }

  /// Uninitialised dense tensor that lives until the enclosing scope ends. The name is kept by pointer: use a literal.
  /// Throws OutOfMemory when the block is too small.
  template <class T, std::size_t Rank>
  TensorView<T, Rank> take(const char* name, const Extents<Rank>& extents) {
    return {static_cast<T*>(take_bytes(name, byte_count<T>(extents))), extents};
  }

  void* take_bytes(const char* name, std::size_t bytes) {
    if (bytes > capacity_ || aligned_bytes(bytes) > capacity_ - used_) {
      throw OutOfMemory(std::string("arena, buffer ") + name, bytes, used_, capacity_);
    }
    void* pointer = base_ + used_;
    used_ += aligned_bytes(bytes);
    live_.push_back({name, aligned_bytes(bytes)});
    if (observer_ != nullptr) observer_->taken(space_, name, live_.back().bytes);
    peak_ = std::max(peak_, used_);
    return pointer;
  }

  /// Gives back everything taken after it was made.
  class Scope {
   public:
    explicit Scope(Arena& arena) noexcept : arena_(arena), used_(arena.used_), live_(arena.live_.size()) {}
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() {
      if (arena_.observer_ != nullptr) {
        for (std::size_t i = arena_.live_.size(); i > live_; --i) {
          arena_.observer_->released(arena_.space_, arena_.live_[i - 1].name, arena_.live_[i - 1].bytes);
        }
      }
      arena_.used_ = used_;
      arena_.live_.resize(live_);
    }

   private:
    Arena& arena_;
    std::size_t used_;
    std::size_t live_;
  };
  [[nodiscard]] Scope scope() noexcept { return Scope(*this); }

  std::size_t capacity_bytes() const noexcept { return capacity_; }
  std::size_t used_bytes() const noexcept { return used_; }
  std::size_t peak_bytes() const noexcept { return peak_; }

  /// Starts a new measurement: the peak becomes what is in use now.
  void reset_peak() noexcept { peak_ = used_; }

 private:
  struct Buffer {
    const char* name;
    std::size_t bytes;  ///< as occupied, alignment included
  };

  std::optional<ResourceRef> resource_;
  std::byte* base_;
  std::size_t capacity_;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
  MemorySpace space_ = MemorySpace::device;
  MemoryObserver* observer_ = nullptr;
  std::vector<Buffer> live_;
};

/// Memory of another device. What is spread over several of them lies on each in proportion to its weight.
struct StoreArena {
  Arena arena;
  double weight = 1;
};

/// One arena per memory space: what a whole stage of a model works in. Where there are stores, rows that leave the
/// device lie there and not in pinned memory.
struct Workspace {
  Arena device;
  Arena pinned;
  Arena host;
  std::vector<StoreArena> stores{};

  /// Gives back everything that was taken beside the device after it was made.
  class OffDeviceScope {
   public:
    explicit OffDeviceScope(Workspace& workspace) : pinned_(workspace.pinned) {
      for (StoreArena& store : workspace.stores) stores_.emplace_back(store.arena);
    }

   private:
    Arena::Scope pinned_;
    std::deque<Arena::Scope> stores_;  // which never moves one
  };
  [[nodiscard]] OffDeviceScope off_device_scope() { return OffDeviceScope(*this); }

  static Workspace make_virtual() { return {Arena::make_virtual(), Arena::make_virtual(), Arena::make_virtual()}; }
  static Workspace make_virtual(MemoryObserver& observer) {
    return {Arena::make_virtual(MemorySpace::device, observer), Arena::make_virtual(MemorySpace::pinned, observer),
            Arena::make_virtual(MemorySpace::host, observer)};
  }
};

}  // namespace ltxmem
