// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The double of libnccl: ranks are threads of one process, and messages meet when the queues of both have come to
/// them. With a folder in LTXMEM_DOUBLE_NCCL ranks are processes, each with machines of its own, and messages are files
/// there.
///
/// Everything sent and received in one group is one operation of its stream: it is done when all of its rows have
/// arrived and all that it sends have been taken. A rank that never posts its part leaves the others waiting, as it
/// does with NCCL.
///
/// Source    NCCL 2.28 user guide: "Group Calls", "Point-to-point Communication Functions", "Fault Tolerance"

#include <nccl.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include "doubles/machine.hpp"

namespace doubles {

namespace {

/// Rows on their way from one rank to another.
struct Message {
  const void* rows = nullptr;
  std::size_t bytes = 0;
  bool taken = false;
  std::filesystem::path file{};  // between processes

  bool is_taken() const { return taken || (!file.empty() && !std::filesystem::exists(file)); }
};

/// The ranks that have met under one id.
struct Meeting {
  using Pair = std::pair<int, int>;  // sender and receiver

  int size = 0;
  int arrived = 0;
  std::set<int> devices{};
  std::map<Pair, std::deque<std::shared_ptr<Message>>> under_way{};
  std::string place{};         // of processes: what the names of all files begin with
  std::map<Pair, int> sent{};  // so many messages, of processes
  std::map<Pair, int> received{};

  void arrive(int rank) {
    ++arrived;
    if (!place.empty()) std::ofstream(place + "rank" + std::to_string(rank));
  }
  bool is_complete() const {
    if (place.empty()) return arrived == size;
    for (int rank = 0; rank < size; ++rank) {
      if (!std::filesystem::exists(place + "rank" + std::to_string(rank))) return false;
    }
    return true;
  }
  std::filesystem::path file_of(const Pair& pair, int number) const {
    return place + std::to_string(pair.first) + "-" + std::to_string(pair.second) + "-" + std::to_string(number);
  }

  std::shared_ptr<Message> send(const Pair& pair, const void* rows, std::size_t bytes) {
    auto message = std::make_shared<Message>(Message{.rows = rows, .bytes = bytes});
    if (place.empty()) {
      under_way[pair].push_back(message);
      return message;
    }
    message->file = file_of(pair, sent[pair]++);
    const std::filesystem::path written = message->file.string() + ".part";
    std::ofstream(written, std::ios::binary).write(static_cast<const char*>(rows), static_cast<std::streamsize>(bytes));
    std::filesystem::rename(written, message->file);
    return message;
  }

  /// Hands what has come to take(rows, bytes), which is done with it when it returns.
  template <class Take>
  bool receive(const Pair& pair, Take&& take) {
    if (place.empty()) {
      auto& arriving = under_way[pair];
      if (arriving.empty()) return false;
      take(arriving.front()->rows, arriving.front()->bytes);
      arriving.front()->taken = true;
      arriving.pop_front();
      return true;
    }
    const std::filesystem::path file = file_of(pair, received[pair]);
    if (!std::filesystem::exists(file)) return false;
    std::vector<char> bytes(std::filesystem::file_size(file));
    std::ifstream(file, std::ios::binary).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    take(bytes.data(), bytes.size());
    ++received[pair];
    std::filesystem::remove(file);
    return true;
  }
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
  Meeting& meeting = *communicator.meeting;
  Progress progress = Progress::none;
  bool done = true;
  for (Transfer& transfer : transfers) {
    if (transfer.sends && transfer.message == nullptr) {
      machine.check_use(transfer.rows, transfer.bytes, Use::move, "a message");
      transfer.message = meeting.send({communicator.rank, transfer.peer}, transfer.rows, transfer.bytes);
      progress = Progress::some;
    }
  }
  for (Transfer& transfer : transfers) {
    if (!transfer.sends && !transfer.done) {
      transfer.done = meeting.receive({transfer.peer, communicator.rank}, [&](const void* rows, std::size_t bytes) {
        if (bytes != transfer.bytes) {
          throw Finding("rank " + std::to_string(transfer.peer) + " sends " + std::to_string(bytes) + " bytes, rank " +
                        std::to_string(communicator.rank) + " expects " + std::to_string(transfer.bytes));
        }
        machine.move(transfer.rows, rows, bytes, "a message");
      });
      if (transfer.done) progress = Progress::some;
    }
    if (transfer.sends) transfer.done = transfer.message->is_taken();
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
    if (!meeting.is_complete() || communicator->busy > 0) return ncclInvalidUsage;
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
  if (meeting == nullptr) {
    meeting = std::make_shared<Meeting>(Meeting{.size = size});
    if (const char* folder = std::getenv("LTXMEM_DOUBLE_NCCL"); folder != nullptr) {
      std::uint64_t number = 0;
      std::memcpy(&number, id.internal, sizeof number);
      meeting->place = std::string(folder) + "/" + std::to_string(number) + ".";
    }
  }
  if (meeting->size != size || meeting->arrived == size) return ncclInvalidArgument;
  const int device = current_device();
  if (!meeting->devices.insert(device).second) return ncclInvalidUsage;  // two ranks would have the same one
  meeting->arrive(rank);
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
  *state = !meeting.is_complete() || communicator->busy > 0 ? ncclInProgress : ncclSuccess;
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
