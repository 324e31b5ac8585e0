// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "doubles/machine.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "simt/executor.hpp"

namespace doubles {

namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t region_bytes = std::size_t{1} << 38;  // addresses only

template <class T>
void read_setting(const char* name, T& value) {
  const char* text = std::getenv((std::string("LTXMEM_DOUBLE_") + name).c_str());
  if (text != nullptr) value = static_cast<T>(std::strtoll(text, nullptr, 10));
}

}  // namespace

Settings settings_of_environment() {
  Settings settings;
  read_setting("SEED", settings.seed);
  read_setting("DEVICES", settings.devices);
  read_setting("CAPABILITY", settings.capability);
  read_setting("MEMORY_BYTES", settings.memory_bytes);
  read_setting("FAILING_ALLOCATION", settings.failing_allocation);
  read_setting("FAILING_LAUNCH", settings.failing_launch);
  read_setting("FAILING_DEVICE", settings.failing_device);
  read_setting("NO_PRODUCTS", settings.no_products);
  read_setting("GREEDY_PRODUCTS", settings.greedy_products);
  return settings;
}

bool Ticket::reached() const {
  return queue == nullptr || queue->finished >= number;
}

Machine& Machine::get() {
  static Machine& machine = *[] {  // never destroyed: programs free memory when they end
    auto* made = new Machine;
    made->reset(settings_of_environment());
    return made;
  }();
  return machine;
}

void Machine::reset(const Settings& chosen) {
  for (const auto& [address, allocation] : allocations_) {
    if (allocation.state != Allocation::State::freed) close(reinterpret_cast<const void*>(address));
  }
  settings = chosen;
  broken.clear();
  findings.clear();
  reached.clear();
  for (const auto& queue : queues_) queue->finished = queue->queued;
  queues_.clear();
  last_ = nullptr;
  allocations_made_ = 0;
  random_.seed(chosen.seed);
  if (region_ == nullptr) {
    void* region = mmap(nullptr, region_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) throw std::bad_alloc();
    region_ = static_cast<char*>(region);
  }
}

void Machine::fail(int device, cudaError_t error, const std::string& finding) {
  findings.push_back(finding);
  broken[device] = error;
  for (const auto& queue : queues_) {
    if (queue->device != device) continue;
    queue->operations.clear();
    queue->finished = queue->queued;
  }
  changed_.notify_all();
}

cudaError_t Machine::state_of(int device) const {
  const auto found = broken.find(device);
  return found == broken.end() ? cudaSuccess : found->second;
}

bool Machine::fails(int& left, int device) const {
  const bool counts = settings.failing_device < 0 || device == settings.failing_device;
  return counts && left > 0 && --left == 0;
}

std::shared_ptr<Queue> Machine::make_queue(int device) {
  return queues_.emplace_back(std::make_shared<Queue>(Queue{.device = device}));
}

Ticket Machine::push(const std::shared_ptr<Queue>& queue, std::string name, std::function<Progress()> run,
                     std::vector<Ticket> after) {
  const Ticket ticket{queue, ++queue->queued};
  if (state_of(queue->device) != cudaSuccess) {
    queue->finished = queue->queued;  // nothing runs there any more
    return ticket;
  }
  queue->operations.push_back(
      std::make_shared<const Operation>(Operation{std::move(name), std::move(after), std::move(run)}));
  changed_.notify_all();
  if (settings.seed != 0 && random_() % 8 == 0) run_some();
  return ticket;
}

bool Machine::may_run(const Queue& queue) const {
  if (queue.operations.empty()) return false;
  const std::vector<Ticket>& after = queue.operations.front()->after;
  return std::all_of(after.begin(), after.end(), [](const Ticket& ticket) { return ticket.reached(); });
}

Progress Machine::run_first(Queue& queue) {
  const std::shared_ptr<const Operation> operation = queue.operations.front();  // one that fails empties the queues
  Progress progress = Progress::done;
  expose(true);
  try {
    progress = operation->run();
  } catch (const Finding& finding) {
    fail(queue.device, cudaErrorIllegalAddress, operation->name + ": " + finding.what());
  }
  expose(false);
  if (state_of(queue.device) == cudaSuccess && progress == Progress::done) {
    queue.operations.pop_front();
    ++queue.finished;
    changed_.notify_all();
  }
  return progress;
}

bool Machine::step(const Ticket& goal) {
  std::vector<std::shared_ptr<Queue>> order = queues_;
  if (settings.seed == 0) {
    // Only what is needed: the queue that is waited for, or the one which that waits for, and so on.
    std::shared_ptr<Queue> needed = goal.queue;
    while (needed != nullptr && !needed->operations.empty() && !may_run(*needed)) {
      const std::vector<Ticket>& after = needed->operations.front()->after;
      needed = std::find_if(after.begin(), after.end(), [](const Ticket& ticket) { return !ticket.reached(); })->queue;
    }
    if (needed != nullptr) order.insert(order.begin(), needed);
  } else {
    std::shuffle(order.begin(), order.end(), random_);
    if (last_ != nullptr && random_() % 4 != 0) order.insert(order.begin(), last_);
  }
  for (bool moved = true; moved;) {
    moved = false;
    for (const auto& queue : order) {
      if (!may_run(*queue)) continue;
      const Progress progress = run_first(*queue);
      moved = moved || progress == Progress::some;
      if (progress != Progress::done) continue;
      last_ = queue;
      return true;
    }
  }
  return false;
}

void Machine::run_some() {
  for (std::uint64_t left = settings.seed == 0 ? 1 : random_() % 4 + 1; left > 0; --left) {
    if (!step({})) return;
  }
}

void Machine::finish(const Ticket& ticket, std::unique_lock<std::mutex>& lock) {
  while (!ticket.reached()) {
    if (step(ticket)) continue;
    if (changed_.wait_for(lock, std::chrono::seconds(20)) == std::cv_status::timeout) {
      std::string text = "nothing can go on:";
      for (const auto& queue : queues_) {
        if (!queue->operations.empty()) text += " " + queue->operations.front()->name + " waits;";
      }
      fail(ticket.queue->device, cudaErrorLaunchTimeout, text);
    }
  }
}

void Machine::finish_all(std::unique_lock<std::mutex>& lock) {
  for (const auto& queue : std::vector(queues_)) finish({queue, queue->queued}, lock);
}

void Machine::expose(bool open_to_host) const {
  if (region_used_ > 0) mprotect(region_, region_used_, open_to_host ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void* Machine::take(std::size_t bytes, bool pinned, int device, std::unique_lock<std::mutex>& lock) {
  if (fails(settings.failing_allocation, pinned ? -1 : device)) return nullptr;
  const std::size_t space = (bytes + page - 1) / page * page;
  char* address = nullptr;
  if (pinned) {
    void* memory = mmap(nullptr, space, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    std::memset(memory, 0xff, space);
    address = static_cast<char*>(memory);
  } else {
    // Memory whose return is queued becomes free when that has run.
    if (used_bytes(device) + bytes > settings.memory_bytes) {
      finish_all(lock);
    }
    if (used_bytes(device) + bytes > settings.memory_bytes) return nullptr;
    address = region_ + region_used_ + page;  // a page between neighbours belongs to nobody
    region_used_ += space + page;
    if (region_used_ > region_bytes) throw std::bad_alloc();
  }
  const std::string name = std::string(pinned ? "pinned" : "device") + " allocation " +
                           std::to_string(++allocations_made_) + " of " + std::to_string(bytes) + " bytes";
  const auto key = reinterpret_cast<std::uintptr_t>(address);
  allocations_[key] = {bytes, pinned, device, Allocation::State::pending, name};
  simt::track(address, bytes, name.c_str(), true, pinned);
  simt::forbid(address, "use before allocation");
  return address;
}

void Machine::open(const void* address) {
  Allocation& allocation = allocations_.at(reinterpret_cast<std::uintptr_t>(address));
  allocation.state = Allocation::State::live;
  simt::track(address, allocation.bytes, allocation.name.c_str(), true, allocation.pinned);
}

void Machine::close(const void* address) {
  Allocation& allocation = allocations_.at(reinterpret_cast<std::uintptr_t>(address));
  allocation.state = Allocation::State::freed;
  simt::forbid(address, "use after free");
  const std::size_t space = (allocation.bytes + page - 1) / page * page;
  mmap(const_cast<void*>(address), space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

std::map<std::uintptr_t, Allocation>::value_type* Machine::find(const void* address) {
  const auto place = reinterpret_cast<std::uintptr_t>(address);
  auto after = allocations_.upper_bound(place);
  if (after == allocations_.begin()) return nullptr;
  --after;
  return place < after->first + after->second.bytes ? &*after : nullptr;
}

std::size_t Machine::used_bytes(int device) const {
  std::size_t bytes = 0;
  for (const auto& [address, allocation] : allocations_) {
    if (!allocation.pinned && allocation.device == device && allocation.state != Allocation::State::freed) {
      bytes += allocation.bytes;
    }
  }
  return bytes;
}

std::size_t Machine::live_allocations() const {
  return static_cast<std::size_t>(std::count_if(allocations_.begin(), allocations_.end(), [](const auto& entry) {
    return entry.second.state != Allocation::State::freed;
  }));
}

void Machine::check_reach(const void* address, int device, const std::string& who) {
  const auto* found = find(address);
  if (found == nullptr || found->second.pinned || found->second.device == device) return;
  if (reached.contains({device, found->second.device})) return;
  throw Finding("out of reach: " + found->second.name + " of device " + std::to_string(found->second.device) +
                " used by " + who + " on device " + std::to_string(device));
}

void Machine::check_use(const void* address, std::size_t bytes, Use use, const std::string& who) {
  const char* verb = use == Use::write ? " written by " : " read by ";
  if (bytes == 0) return;
  const auto* found = find(address);
  if (found == nullptr) {
    const auto* place = static_cast<const char*>(address);
    if (place >= region_ && place < region_ + region_bytes) throw Finding("out of bounds address" + (verb + who));
    return;
  }
  const auto& [begin, allocation] = *found;
  if (allocation.state == Allocation::State::freed) throw Finding("use after free: " + allocation.name + verb + who);
  if (allocation.state == Allocation::State::pending) {
    throw Finding("use before allocation: " + allocation.name + verb + who);
  }
  if (reinterpret_cast<std::uintptr_t>(address) + bytes > begin + allocation.bytes) {
    throw Finding("out of bounds: " + allocation.name + verb + who);
  }
  if (use == Use::read && !simt::initialised(address, bytes)) {
    throw Finding("uninitialised memory: " + allocation.name + verb + who);
  }
  if (use == Use::write) simt::note_write(address, bytes);
}

void Machine::move(void* to, const void* from, std::size_t bytes, const std::string& who) {
  const auto* target = find(to);
  const bool within_device = target != nullptr && !target->second.pinned;
  check_use(from, bytes, within_device ? Use::move : Use::read, who);
  check_use(to, bytes, Use::write, who);
  if (within_device) simt::note_copy(to, from, bytes);
  std::memmove(to, from, bytes);
}

void reset(const Settings& settings) {
  const std::unique_lock lock(Machine::get().mutex);
  Machine::get().reset(settings);
}

std::vector<std::string> findings() {
  Machine& machine = Machine::get();
  std::unique_lock lock(machine.mutex);
  machine.finish_all(lock);
  return {machine.findings.begin(), machine.findings.end()};
}

std::size_t live_allocations() {
  const std::unique_lock lock(Machine::get().mutex);
  return Machine::get().live_allocations();
}

}  // namespace doubles
