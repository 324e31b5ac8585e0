// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <driver_types.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "doubles/control.hpp"

/// Queues and memory behind the test doubles.
///
/// Nothing runs when it is queued. A thread that waits runs operations, of any stream whose first operation may run,
/// until what it waits for is done. Device memory is closed to the host (PROT_NONE) except while an operation runs, and
/// no address is ever used twice.

namespace doubles {

struct Queue;

/// A place in a queue: reached when everything up to it has run.
struct Ticket {
  std::shared_ptr<Queue> queue;
  std::uint64_t number = 0;

  bool reached() const;
};

/// How far an operation came: one that waits for another rank is tried again.
enum class Progress : std::uint8_t { none, some, done };

struct Operation {
  std::string name;
  std::vector<Ticket> after;
  std::function<Progress()> run;
};

struct Queue {
  int device = 0;
  std::uint64_t queued = 0;
  std::uint64_t finished = 0;
  std::deque<std::shared_ptr<const Operation>> operations{};
};

/// A mistake of the program under test that only shows when an operation runs.
struct Finding : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Allocation {
  enum class State : std::uint8_t { pending, live, freed };
  std::size_t bytes = 0;
  bool pinned = false;
  int device = 0;
  State state = State::pending;
  std::string name;
};

enum class Use : std::uint8_t { read, write, move };  ///< move: read without asking whether anybody wrote it

/// Everything below is called with `mutex` held.
class Machine {
 public:
  static Machine& get();

  std::mutex mutex;
  Settings settings;
  std::map<int, cudaError_t> broken;  ///< what calls for a device return once something has gone wrong on it
  std::deque<std::string> findings;
  std::set<std::pair<int, int>> reached;  ///< devices whose memory a device may use, pair by pair

  void reset(const Settings& chosen);
  /// The device is broken from now on.
  void fail(int device, cudaError_t error, const std::string& finding);
  cudaError_t state_of(int device) const;
  /// Whether the n-th of something on that device is to fail; counts it.
  bool fails(int& left, int device) const;

  // Queues.
  std::shared_ptr<Queue> make_queue(int device);
  Ticket push(const std::shared_ptr<Queue>& queue, std::string name, std::function<Progress()> run,
              std::vector<Ticket> after = {});
  /// Runs operations until the place is reached or its device breaks. `lock` holds `mutex`, and gives it up while only
  /// another thread can go on.
  void finish(const Ticket& ticket, std::unique_lock<std::mutex>& lock);
  void finish_all(std::unique_lock<std::mutex>& lock);
  /// Some operations of any queues, at least one if there is one.
  void run_some();

  // Memory.
  void* take(std::size_t bytes, bool pinned, int device, std::unique_lock<std::mutex>& lock);
  void open(const void* address);  ///< the allocation may be used from now on
  void close(const void* address);
  /// The allocation that holds the address, null for other memory of the host.
  std::map<std::uintptr_t, Allocation>::value_type* find(const void* address);
  std::size_t used_bytes(int device) const;
  std::size_t live_allocations() const;

  /// Throws Finding when a device does not reach the memory.
  void check_reach(const void* address, int device, const std::string& who);
  /// Throws Finding unless an operation may use these bytes so.
  void check_use(const void* address, std::size_t bytes, Use use, const std::string& who);
  /// Copies after checking both sides. Uninitialised memory may move on the device, but not to the host.
  void move(void* to, const void* from, std::size_t bytes, const std::string& who);

  std::uint64_t random() { return random_(); }

 private:
  bool step(const Ticket& goal);
  bool may_run(const Queue& queue) const;
  Progress run_first(Queue& queue);
  void expose(bool open_to_host) const;

  std::mt19937_64 random_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Queue>> queues_;
  std::shared_ptr<Queue> last_;
  std::map<std::uintptr_t, Allocation> allocations_;
  char* region_ = nullptr;
  std::size_t region_used_ = 0;
  int allocations_made_ = 0;
};

/// The queue behind a stream of the runtime; null when there is no such stream.
std::shared_ptr<Queue> queue_of(cudaStream_t stream);
/// In the calling thread.
int current_device();

}  // namespace doubles
