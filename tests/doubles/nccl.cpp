// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The double of libnccl: ranks are threads of one process, and messages meet when the queues of both have come to them.
///
/// Everything sent and received in one group is one operation of its stream: it is done when all of its rows have arrived
/// and all that it sends have been taken. A rank that never posts its part leaves the others waiting, as it does with NCCL.
///
/// Source    NCCL 2.28 user guide: "Group Calls", "Point-to-point Communication Functions", "Fault Tolerance"

#include <nccl.h>

#include <atomic>
#include <cstring>
#include <map>
#include <set>

#include "doubles/machine.hpp"

namespace doubles {

namespace {

/// Rows on their way from one rank to another.
struct Message {
  const void* rows = nullptr;
  std::size_t bytes = 0;
  bool taken = false;
};

/// The ranks that have met under one id.
struct Meeting {
  int size = 0;
  int arrived = 0;
  std::set<int> devices{};
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Message>>> under_way{};  // by sender and receiver
};

struct Transfer {
  bool sends = false;
  void* rows = nullptr;
  std::size_t bytes = 0;
  int peer = 0;
  std::shared_ptr<Message> message{};  // of a send, once its turn has come
  bool done = false;
};

}  // namespace

}  // namespace doubles

struct ncclComm {
  int rank = 0;
  int device = 0;
  std::shared_ptr<doubles::Meeting> meeting;
  bool aborted = false;
  std::uint64_t busy = 0;  // so often asyncError answers that the last call is still in progress
};

namespace doubles {

namespace {

std::map<std::string, std::shared_ptr<Meeting>> meetings;

/// What a group has gathered for its one operation.
struct Group {
  std::shared_ptr<ncclComm> communicator;
  cudaStream_t stream = nullptr;
  std::vector<Transfer> transfers;
};
thread_local int depth = 0;
thread_local std::vector<Group> groups;

std::map<ncclComm_t, std::shared_ptr<ncclComm>> communicators;

std::shared_ptr<ncclComm> find(ncclComm_t handle) {
  const auto found = communicators.find(handle);
  return found == communicators.end() ? nullptr : found->second;
}

/// Goes as far as it can; done when everything has been sent and received.
Progress advance(Machine& machine, const ncclComm& communicator, std::vector<Transfer>& transfers) {
  if (communicator.aborted) return Progress::done;
  auto& under_way = communicator.meeting->under_way;
  Progress progress = Progress::none;
  bool done = true;
  for (Transfer& transfer : transfers) {
    if (transfer.sends && transfer.message == nullptr) {
      machine.check_use(transfer.rows, transfer.bytes, Use::move, "a message");
      transfer.message = std::make_shared<Message>(Message{transfer.rows, transfer.bytes});
      under_way[{communicator.rank, transfer.peer}].push_back(transfer.message);
      progress = Progress::some;
    }
  }
  for (Transfer& transfer : transfers) {
    if (!transfer.sends && !transfer.done) {
      auto& arriving = under_way[{transfer.peer, communicator.rank}];
      if (!arriving.empty()) {
        Message& message = *arriving.front();
        if (message.bytes != transfer.bytes) {
          throw Finding("rank " + std::to_string(transfer.peer) + " sends " + std::to_string(message.bytes) +
                        " bytes, rank " + std::to_string(communicator.rank) + " expects " +
                        std::to_string(transfer.bytes));
        }
        machine.move(transfer.rows, message.rows, message.bytes, "a message");
        message.taken = true;
        arriving.pop_front();
        transfer.done = true;
        progress = Progress::some;
      }
    }
    if (transfer.sends) transfer.done = transfer.message->taken;
    done = done && transfer.done;
  }
  return done ? Progress::done : progress;
}

ncclResult_t queue_groups() {
  Machine& machine = Machine::get();
  const std::unique_lock lock(machine.mutex);
  for (Group& group : std::exchange(groups, {})) {
    const std::shared_ptr<Queue> queue = queue_of(group.stream);
    if (queue == nullptr || machine.state_of(queue->device) != cudaSuccess) return ncclUnhandledCudaError;
    auto transfers = std::make_shared<std::vector<Transfer>>(std::move(group.transfers));
    machine.push(queue, "messages of rank " + std::to_string(group.communicator->rank),
                 [&machine, communicator = group.communicator, transfers] {
                   return advance(machine, *communicator, *transfers);
                 });
    if (machine.settings.seed != 0) group.communicator->busy = machine.random() % 3;
  }
  return ncclSuccess;
}

ncclResult_t add(Transfer transfer, ncclDataType_t type, ncclComm_t handle, cudaStream_t stream) {
  {
    const std::unique_lock lock(Machine::get().mutex);
    const std::shared_ptr<ncclComm> communicator = find(handle);
    if (communicator == nullptr || type != ncclInt8) return ncclInvalidArgument;
    const Meeting& meeting = *communicator->meeting;
    if (meeting.arrived < meeting.size || communicator->busy > 0) return ncclInvalidUsage;
    if (transfer.peer < 0 || transfer.peer >= meeting.size) return ncclInvalidArgument;
    const std::shared_ptr<Queue> queue = queue_of(stream);
    if (queue != nullptr && queue->device != communicator->device) return ncclInvalidUsage;
    if (groups.empty() || groups.back().communicator != communicator || groups.back().stream != stream) {
      groups.push_back({communicator, stream, {}});
    }
    groups.back().transfers.push_back(std::move(transfer));
  }
  return depth == 0 ? queue_groups() : ncclSuccess;
}

}  // namespace

}  // namespace doubles

using namespace doubles;

// The names and types are those of the library that this stands for.
// NOLINTBEGIN
extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<std::uint64_t> made = 0;
  *id = {};
  const std::uint64_t number = ++made;
  std::memcpy(id->internal, &number, sizeof number);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* handle, int size, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (config == nullptr || config->blocking != 0 || rank < 0 || rank >= size) return ncclInvalidArgument;
  Machine& machine = Machine::get();
  const std::unique_lock lock(machine.mutex);
  if (machine.settings.devices < 1) return ncclUnhandledCudaError;
  auto& meeting = meetings[std::string(id.internal, sizeof id.internal)];
  if (meeting == nullptr) meeting = std::make_shared<Meeting>(Meeting{.size = size});
  if (meeting->size != size || meeting->arrived == size) return ncclInvalidArgument;
  const int device = current_device();
  if (!meeting->devices.insert(device).second) return ncclInvalidUsage;  // two ranks would have the same one
  ++meeting->arrived;
  const auto communicator = std::make_shared<ncclComm>(ncclComm{.rank = rank, .device = device, .meeting = meeting});
  *handle = communicator.get();
  communicators[*handle] = communicator;
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t* state) {
  const std::unique_lock lock(Machine::get().mutex);
  const std::shared_ptr<ncclComm> communicator = find(handle);
  if (communicator == nullptr) return ncclInvalidArgument;
  const Meeting& meeting = *communicator->meeting;
  *state = meeting.arrived < meeting.size || communicator->busy > 0 ? ncclInProgress : ncclSuccess;
  if (communicator->busy > 0) --communicator->busy;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t handle) {
  const std::unique_lock lock(Machine::get().mutex);
  const std::shared_ptr<ncclComm> communicator = find(handle);
  if (communicator == nullptr) return ncclInvalidArgument;
  communicator->aborted = true;
  for (auto& [ranks, messages] : communicator->meeting->under_way) {
    if (ranks.first == communicator->rank) messages.clear();  // their rows may go now
  }
  communicators.erase(handle);
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (depth == 0) return ncclInvalidUsage;
  return --depth == 0 ? queue_groups() : ncclSuccess;
}
ncclResult_t ncclSend(const void* rows, std::size_t count, ncclDataType_t type, int peer, ncclComm_t communicator,
                      cudaStream_t stream) {
  return add({.sends = true, .rows = const_cast<void*>(rows), .bytes = count, .peer = peer}, type, communicator,
             stream);
}
ncclResult_t ncclRecv(void* rows, std::size_t count, ncclDataType_t type, int peer, ncclComm_t communicator,
                      cudaStream_t stream) {
  return add({.sends = false, .rows = rows, .bytes = count, .peer = peer}, type, communicator, stream);
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclInProgress: return "in progress";
    default: return "unknown result";
  }
}
const char* ncclGetLastError(ncclComm_t) {
  return "";
}

}  // extern "C"
// NOLINTEND
