// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>
#include <span>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "ltxmem/backend/concepts.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/memory/arena.hpp"
#include "ltxmem/stores/spread_rows.hpp"
#include "ltxmem/weights/weight_block.hpp"

namespace ltxmem {

struct WeightStreamOptions {
  std::int64_t slots = 2;         ///< blocks on the device at a time, besides the resident ones
  std::int64_t pinned_slots = 2;  ///< blocks read ahead
  std::int64_t resident = 0;      ///< so many first blocks are brought once and stay
  std::int64_t stored = 0;        ///< so many first streamed blocks stay in the stores, if there are any
  bool repeats = true;            ///< the last block is followed by the first one again: another pass
  std::int64_t cached = 0;        ///< blocks behind those that the page cache keeps: a dry run sees no disk read there
  bool warm = false;              ///< a dry run sees a later pass: what stays is there, and so is the first block
  std::stop_token stop{};         ///< when it fires, reading ends and acquire throws Cancelled
};

/// Where a stream keeps its blocks, by formula.
struct WeightStreamLayout {
  std::int64_t resident = 0;  ///< all blocks where the others would fit into the slots
  std::int64_t slots = 0;
  std::int64_t pinned_slots = 0;
  std::size_t resident_bytes = 0;
  std::size_t slot_bytes = 0;
  std::size_t pinned_slot_bytes = 0;

  /// Resident blocks travel in parcels of at most this size when no streamed block asks for larger slots.
  static constexpr std::size_t parcel_bytes = std::size_t{64} << 20;

  WeightStreamLayout(std::span<const WeightBlock> blocks, const WeightStreamOptions& options) {
    expects(options.slots >= 1 && options.pinned_slots >= 1, "weight stream: ", options.slots, " slots, ",
            options.pinned_slots, " pinned slots, expected at least 1");
    expects(options.resident >= 0, "weight stream: ", options.resident, " resident blocks");
    const auto count = static_cast<std::int64_t>(blocks.size());
    resident = count - std::min(count, options.resident) <= options.slots ? count : options.resident;
    std::size_t largest = 0;  // resident block
    for (std::int64_t block = 0; block < count; ++block) {
      const std::size_t bytes = aligned_bytes(blocks[static_cast<std::size_t>(block)].bytes());
      if (block < resident) {
        resident_bytes += bytes;
        largest = std::max(largest, bytes);
      } else {
        slot_bytes = std::max(slot_bytes, bytes);
      }
    }
    slots = resident < count ? options.slots : 0;
    pinned_slot_bytes = resident < count ? slot_bytes : std::min(largest, parcel_bytes);
    pinned_slots = resident < count || resident_bytes > 0 ? options.pinned_slots : 0;
  }

  std::size_t device_bytes() const noexcept { return resident_bytes + static_cast<std::size_t>(slots) * slot_bytes; }
  std::size_t pinned_bytes() const noexcept { return static_cast<std::size_t>(pinned_slots) * pinned_slot_bytes; }
};

/// Weights that visit the device block by block: a thread reads them into pinned slots, the backend's copy queue takes
/// them from there to slots on the device while the block before computes. Some may stay in the memory of other devices
/// when they have come by once, each spread over all of these; from then on they visit the slots from there.
///
/// Order     blocks are read and sent in the order 0, 1, ..., n - 1 and, where the stream repeats, the streamed ones
///           again; the next one to be sent is on its way before the work on this one is queued
/// Memory    WeightStreamLayout: device_bytes() and pinned_bytes(), and the bytes of the stored blocks in the stores,
///           alive until the arenas' scopes end
/// Cost      every streamed block is sent once per pass and read as often, a stored one read once; a resident one both
///           once
/// Stream    work queued after acquire(i) finds block i; the next acquire gives the slot to another block, behind the
///           work queued until then. The destructor ends the thread and waits for copies under way; work under way is
///           the caller's business, so the stream goes before its blocks and arenas do
/// Threads   one caller at a time, the backend's
/// Throws    Cancelled; from acquire what reading the block threw; ShapeError, OutOfMemory
///
/// On a backend that collapses loops (a dry run) nothing is read: acquire gives addresses and records the transfers;
/// stored blocks are in their stores.
/// Turns of a collapsed loop must all be streamed, or all be resident.
template <HasByteTransfer Backend>
class WeightStream {
 public:
  /// Borrows the blocks.
  WeightStream(Backend& backend, std::span<const WeightBlock> blocks, const WeightStreamOptions& options, Arena& device,
               Arena& pinned, std::span<StoreArena> stores = {})
      : backend_(&backend), blocks_(blocks), options_(options), layout_(blocks, options) {
    expects(options.stored >= 0, "weight stream: ", options.stored, " stored blocks");
    const std::int64_t count = size();
    for (std::int64_t block = 0; block < layout_.resident; ++block) {
      const std::size_t bytes = blocks_[static_cast<std::size_t>(block)].bytes();
      places_.push_back(static_cast<std::byte*>(device.take_bytes("resident weights", bytes)));
      for (std::size_t begin = 0; begin < bytes; begin += layout_.pinned_slot_bytes) {
        parcels_.push_back({block, begin, std::min(bytes - begin, layout_.pinned_slot_bytes)});
      }
      parcels_end_.push_back(static_cast<std::int64_t>(parcels_.size()));
    }
    for (std::int64_t slot = 0; slot < layout_.slots; ++slot) {
      slots_.push_back(static_cast<std::byte*>(device.take_bytes("weight slot", layout_.slot_bytes)));
    }
    for (std::int64_t slot = 0; slot < layout_.pinned_slots; ++slot) {
      pinned_.push_back(static_cast<std::byte*>(pinned.take_bytes("weight slot", layout_.pinned_slot_bytes)));
    }
    const std::int64_t stored = stores.empty() ? 0 : std::min(options.stored, count - layout_.resident);
    for (std::int64_t block = layout_.resident; block < layout_.resident + stored; ++block) {
      homes_.emplace_back("stored weights", rows_of(block), stores);
    }
    are_home_.assign(homes_.size(), false);
    has_read_.assign(pinned_.size(), false);
    arriving_.resize(places_.size() + slots_.size());
    leaving_.resize(pinned_.size());
    present_.assign(static_cast<std::size_t>(count), false);
    turns_ = first_streamed_turn();
    if (layout_.resident < count) {
      turns_ = options_.repeats ? std::numeric_limits<std::int64_t>::max() : turns_ + count - layout_.resident;
    }
    if (!is_dry() && turns_ > 0) start(0);
  }
  WeightStream(const WeightStream&) = delete;
  WeightStream& operator=(const WeightStream&) = delete;
  ~WeightStream() { finish(); }

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(blocks_.size()); }
  const WeightStreamLayout& layout() const noexcept { return layout_; }

  /// Where block i lies for the work that is queued until the next acquire; its pieces are at their offsets from here.
  /// Blocks are asked for in order; another one than expected is brought as well, after what was read ahead is dropped.
  const std::byte* acquire(std::int64_t block) {
    expects_range("weight stream: block", block, 1, size());
    if (is_dry()) return rehearse(block);
    if (std::exchange(in_use_, false)) ++used_;
    const std::int64_t last_free = first_streamed_turn() + used_ + layout_.slots;  // slots are free for turns below it
    if (block < layout_.resident) {
      // The one after it as well: a copy waits for the work queued before it, so it must be queued before this block's.
      const std::int64_t next = std::min(block + 1, layout_.resident - 1);
      issue_until(parcels_end_[static_cast<std::size_t>(next)]);
      while (issued_ < std::min(last_free, turns_) && is_read(issued_)) issue();
      backend_->wait(arriving_[static_cast<std::size_t>(block)]);
      return places_[static_cast<std::size_t>(block)];
    }
    const std::int64_t turn = first_streamed_turn() + used_;
    if (turn >= turns_ || block_of(turn) != block) seek(block);
    in_use_ = true;
    issue_until(std::min(last_free, turns_));
    backend_->wait(arriving_[places_.size() + slot_of(turn)]);
    return slots_[slot_of(turn)];
  }

 private:
  using Event = typename Backend::Event;

  /// What travels in one turn: a streamed block as a whole, or a part of a resident one.
  struct Parcel {
    std::int64_t block;
    std::size_t begin;
    std::size_t bytes;
  };

  bool is_dry() const noexcept { return backend_->collapses_loops(); }
  std::int64_t first_streamed_turn() const noexcept { return static_cast<std::int64_t>(parcels_.size()); }
  std::int64_t block_of(std::int64_t turn) const noexcept {
    return layout_.resident + (turn - first_streamed_turn() + shift_) % (size() - layout_.resident);
  }
  std::size_t slot_of(std::int64_t turn) const noexcept {
    return static_cast<std::size_t>((turn - first_streamed_turn()) % layout_.slots);
  }
  std::size_t pinned_of(std::int64_t turn) const noexcept {
    return static_cast<std::size_t>(turn % layout_.pinned_slots);
  }
  Parcel parcel(std::int64_t turn) const noexcept {
    if (turn < first_streamed_turn()) return parcels_[static_cast<std::size_t>(turn)];
    const std::int64_t block = block_of(turn);
    return {block, 0, blocks_[static_cast<std::size_t>(block)].bytes()};
  }

  // ------------------------------------------------------------------------------------------- the caller's thread

  bool is_read(std::int64_t turn) {
    const std::lock_guard lock(mutex_);
    return read_ > turn;
  }

  void issue_until(std::int64_t end) {
    while (issued_ < end) issue();
  }

  /// Sends the next parcel, once it has been read.
  void issue() {
    const std::int64_t turn = issued_;
    const std::size_t pinned = pinned_of(turn);
    bool comes_from_home = false;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, options_.stop, [&] { return read_ > turn || error_; });
      if (options_.stop.stop_requested()) throw Cancelled();
      if (read_ <= turn) std::rethrow_exception(error_);
      comes_from_home = !has_read_[pinned];
    }
    const Parcel parcel = this->parcel(turn);
    const bool is_resident = turn < first_streamed_turn();
    const std::size_t place = is_resident ? static_cast<std::size_t>(parcel.block) : places_.size() + slot_of(turn);
    std::byte* target = is_resident ? places_[place] + parcel.begin : slots_[slot_of(turn)];
    arriving_[place] =
        comes_from_home ? send_from_home(parcel.block, target) : transfer(parcel.bytes, pinned_[pinned], target);
    Event last = arriving_[place];
    if (!comes_from_home && has_home(parcel.block)) last = send_home(parcel.block, pinned_[pinned]);
    const std::lock_guard lock(mutex_);
    if (has_home(parcel.block)) are_home_[home_of(parcel.block)] = true;
    leaving_[pinned] = last;
    issued_ = turn + 1;
    changed_.notify_all();
  }

  // A stored block travels as rows of buffer_alignment bytes, so that its parts are aligned; its last row may end in
  // bytes that are not its own, for which slots have room.
  Extents<2> rows_of(std::int64_t block) const noexcept {
    const std::size_t bytes = aligned_bytes(blocks_[static_cast<std::size_t>(block)].bytes());
    return {static_cast<std::int64_t>(bytes / buffer_alignment), static_cast<std::int64_t>(buffer_alignment)};
  }
  std::size_t home_of(std::int64_t block) const noexcept { return static_cast<std::size_t>(block - layout_.resident); }
  bool has_home(std::int64_t block) const noexcept {
    return block >= layout_.resident && home_of(block) < homes_.size();
  }

  /// From where a stored block stays to a slot, and from pinned memory to where it is to stay.
  Event send_from_home(std::int64_t block, std::byte* to) {
    const TensorView<std::byte, 2> rows(to, rows_of(block));
    return copy_async(*backend_, CopyQueue::in, homes_[home_of(block)], 0, rows);
  }
  Event send_home(std::int64_t block, const std::byte* from) {
    const TensorView<const std::byte, 2> rows(from, rows_of(block));
    return copy_async(*backend_, CopyQueue::in, rows, homes_[home_of(block)], 0);
  }

  Event transfer(std::size_t bytes, const std::byte* from, std::byte* to) {
    const Extents<2> extents{1, static_cast<std::int64_t>(bytes)};
    return backend_->copy_async(CopyQueue::in, TensorView<const std::byte, 2>(from, extents),
                                TensorView<std::byte, 2>(to, extents));
  }

  /// Makes the next streamed turn that of another block.
  void seek(std::int64_t block) {
    issue_until(first_streamed_turn());
    finish();
    const std::int64_t streamed = size() - layout_.resident;
    const std::int64_t turn = first_streamed_turn() + used_;
    shift_ = ((block - layout_.resident - used_) % streamed + streamed) % streamed;
    if (!options_.repeats) turns_ = turn + size() - block;
    start(turn);
  }

  /// Starts to read with this turn.
  void start(std::int64_t turn) {
    closing_ = false;
    read_ = turn;
    issued_ = turn;
    thread_ = std::thread([this, turn] { read(turn); });
  }

  /// Ends the thread and waits for the copies under way.
  void finish() noexcept {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    thread_.join();
    try {
      for (const Event& event : leaving_) backend_->synchronize(event);
    } catch (...) {  // the device has failed: nothing is under way any more, and the next call says so
    }
  }

  // ----------------------------------------------------------------------------------------- the prefetching thread

  void read(std::int64_t turn) noexcept {
    try {
      for (; turn < turns_; ++turn) {
        Event leaving;
        const Parcel next = parcel(turn);
        bool is_home = false;
        {
          std::unique_lock lock(mutex_);
          const auto has_left = [&] { return closing_ || turn < issued_ + layout_.pinned_slots; };
          if (!changed_.wait(lock, options_.stop, has_left) || closing_) return;
          leaving = leaving_[pinned_of(turn)];
          is_home = has_home(next.block) && are_home_[home_of(next.block)];
        }
        backend_->synchronize(leaving);
        if (!is_home && !read(next, pinned_[pinned_of(turn)])) return;
        const std::lock_guard lock(mutex_);
        has_read_[pinned_of(turn)] = !is_home;
        read_ = turn + 1;
        changed_.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      error_ = std::current_exception();
      changed_.notify_all();
    }
  }

  /// False when the stream ends first.
  bool read(const Parcel& parcel, std::byte* to) const {
    constexpr std::size_t portion = std::size_t{4} << 20;  // what an end has to wait for
    for (std::size_t done = 0; done < parcel.bytes; done += portion) {
      if (closing_ || options_.stop.stop_requested()) return false;
      blocks_[static_cast<std::size_t>(parcel.block)].read(
          parcel.begin + done, std::span(to + done, std::min(portion, parcel.bytes - done)));
    }
    return true;
  }

  // ---------------------------------------------------------------------------------------------------- the dry run

  const std::byte* rehearse(std::int64_t block) {
    const auto index = static_cast<std::size_t>(block);
    if (block < layout_.resident) {
      if (!present_[index] && !options_.warm) bring(block);
      backend_->wait(arriving_[0]);
      present_[index] = true;
      return places_[index];
    }
    // Sent ahead is the block that follows, if there is a slot for it; what a deeper stream sends earlier is as much.
    const bool ahead = layout_.slots > 1;
    const bool is_first = !std::exchange(rehearsed_, true);
    if (!ahead || (is_first && !options_.warm)) bring(block);
    backend_->wait(arriving_[0]);
    const bool is_last = block + 1 == size();
    if (ahead && (!is_last || options_.repeats)) bring(is_last ? layout_.resident : block + 1);
    return slots_[static_cast<std::size_t>((block - layout_.resident) % layout_.slots)];
  }

  /// Records the way of a block to the device: the read starts when its pinned slot is free, the copy after it.
  void bring(std::int64_t block) {
    const std::size_t bytes = blocks_[static_cast<std::size_t>(block)].bytes();
    if (bytes == 0) return;
    if constexpr (HasPeerTransfer<Backend>) {
      if (has_home(block)) {
        arriving_[0] = backend_->peer_transfer(CopyQueue::in, bytes);
        return;
      }
    }
    const std::int64_t first_cached = layout_.resident + static_cast<std::int64_t>(homes_.size());
    const bool is_cached = block >= first_cached && block < first_cached + options_.cached;
    Event& leaving = leaving_[pinned_of(issued_++)];
    if constexpr (requires { backend_->stream_in(std::int64_t{}, std::int64_t{}, leaving); }) {
      leaving = backend_->stream_in(is_cached ? 0 : static_cast<std::int64_t>(bytes), static_cast<std::int64_t>(bytes),
                                    leaving);
    } else {
      leaving = transfer(bytes, pinned_[0], block < layout_.resident ? places_[0] : slots_[0]);
    }
    arriving_[0] = leaving;
  }

  Backend* backend_;
  std::span<const WeightBlock> blocks_;
  WeightStreamOptions options_;
  WeightStreamLayout layout_;
  std::vector<Parcel> parcels_;            // the turns of the resident blocks; one for every streamed block follows
  std::vector<std::int64_t> parcels_end_;  // by resident block: the turn after its last one
  std::vector<std::byte*> places_;         // of the resident blocks
  std::vector<std::byte*> slots_;
  std::vector<std::byte*> pinned_;
  std::vector<SpreadRows<std::byte>> homes_;  // of the stored blocks
  std::vector<Event> arriving_;               // by resident block, then by slot
  std::vector<bool> present_;                 // dry run: by resident block
  bool rehearsed_ = false;                    // dry run: a streamed block has been acquired
  std::int64_t turns_ = 0;
  std::int64_t shift_ = 0;   // of the streamed blocks against their turns
  std::int64_t used_ = 0;    // streamed turns whose work has been queued
  bool in_use_ = false;      // the turn after them is being worked on
  std::int64_t issued_ = 0;  // turns sent; written by the caller's thread under the mutex

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<Event> leaving_;  // by pinned slot: the copy out of it
  std::int64_t read_ = 0;       // turns read
  std::vector<bool> are_home_;  // by stored block: sent there
  std::vector<bool> has_read_;  // by pinned slot: the block of its turn has been read; it has not where it is home
  std::atomic<bool> closing_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace ltxmem
