// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

/// The double of libcudart: the calls that the library makes, and what nvcc's own code asks for.
///
/// Source    CUDA 13.0 runtime API reference, in particular "API synchronization behavior" for copies and "Stream Ordered
///           Memory Allocator"; launch limits from the CUDA programming guide, "Compute Capabilities"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>

#include "doubles/kernels.hpp"
#include "doubles/machine.hpp"

namespace doubles {

namespace {

using Lock = std::unique_lock<std::mutex>;

struct Stream {
  std::shared_ptr<Queue> queue;
};

struct Event {
  int device = 0;
  Ticket ticket;
};

// Handles are looked up before they are followed; their addresses are never used twice.
template <class T>
class Handles {
 public:
  T* add(T value) { return all_.emplace_back(std::make_unique<T>(std::move(value)), true).first.get(); }
  T* find(const void* handle) {
    for (auto& [value, alive] : all_) {
      if (value.get() == handle && alive) return value.get();
    }
    return nullptr;
  }
  bool remove(const void* handle) {
    for (auto& [value, alive] : all_) {
      if (value.get() != handle || !alive) continue;
      *value = {};
      alive = false;
      return true;
    }
    return false;
  }

 private:
  std::deque<std::pair<std::unique_ptr<T>, bool>> all_;
};

struct Function {
  std::string name;
  std::map<int, std::size_t> shared_limits{};  ///< that devices were asked for
};

template <class T>
T& global() {
  static T& object = *new T;  // registration precedes main and ends after it
  return object;
}
auto& streams() { return global<Handles<Stream>>(); }
auto& events() { return global<Handles<Event>>(); }
auto& functions() { return global<std::map<const void*, Function>>(); }
auto& kernels() { return global<std::map<std::string, Kernel>>(); }

thread_local cudaError_t last_error = cudaSuccess;
thread_local int chosen_device = 0;

cudaError_t keep(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

// One call: fails at once where there is no device or where it is broken; may find out that it just broke.
template <class Body>
cudaError_t call(Body body) {
  Machine& machine = Machine::get();
  Lock lock(machine.mutex);
  if (machine.settings.devices < 0) return keep(cudaErrorInsufficientDriver);
  if (machine.settings.devices == 0) return keep(cudaErrorNoDevice);
  const auto state = [&] { return machine.state_of(chosen_device); };
  if (state() != cudaSuccess) return keep(state());
  const cudaError_t error = body(machine, lock);
  return keep(state() != cudaSuccess ? state() : error);
}

std::size_t most_shared_bytes(int capability) {
  switch (capability) {
    case 80: return 163 << 10;
    case 90:
    case 100: return 227 << 10;
    default: return 99 << 10;
  }
}

struct Rows {
  char* to;
  std::size_t to_pitch;
  const char* from;
  std::size_t from_pitch;
  std::size_t width;
  std::size_t height;
};

// The order of the stream has come to the copy.
void run_copy(Machine& machine, const Rows& rows) {
  for (std::size_t row = 0; row < rows.height; ++row) {
    machine.move(rows.to + row * rows.to_pitch, rows.from + row * rows.from_pitch, rows.width, "a copy");
  }
}

cudaError_t copy(Machine& machine, Lock& lock, Rows rows, cudaMemcpyKind kind, cudaStream_t handle) {
  const Stream* stream = streams().find(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (rows.width == 0 || rows.height == 0) return cudaSuccess;
  if (rows.height > 1 && (rows.width > rows.to_pitch || rows.width > rows.from_pitch)) return cudaErrorInvalidPitchValue;
  const auto* from = machine.find(rows.from);
  const auto* to = machine.find(rows.to);
  const bool from_device = from != nullptr && !from->second.pinned;
  const bool to_device = to != nullptr && !to->second.pinned;
  const cudaMemcpyKind actual = from_device ? (to_device ? cudaMemcpyDeviceToDevice : cudaMemcpyDeviceToHost)
                                            : (to_device ? cudaMemcpyHostToDevice : cudaMemcpyHostToHost);
  if (kind != cudaMemcpyDefault && kind != actual) return cudaErrorInvalidValue;
  if (to_device && from == nullptr) {
    // Pageable memory is copied aside before the call returns.
    auto staged = std::make_shared<std::vector<char>>(rows.width * rows.height);
    for (std::size_t row = 0; row < rows.height; ++row) {
      std::memcpy(staged->data() + row * rows.width, rows.from + row * rows.from_pitch, rows.width);
    }
    rows.from = staged->data();
    rows.from_pitch = rows.width;
    machine.push(stream->queue, "copy from pageable memory", [&machine, rows, staged] {
      run_copy(machine, rows);
      return Progress::done;
    });
    return cudaSuccess;
  }
  const Ticket ticket = machine.push(stream->queue, "copy", [&machine, rows] {
    run_copy(machine, rows);
    return Progress::done;
  });
  // Into pageable memory, and within the host, the call returns when the copy is done.
  if (to == nullptr || (!from_device && !to_device)) machine.finish(ticket, lock);
  return cudaSuccess;
}

bool too_large(dim3 grid, dim3 block) {
  return grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffU || grid.y > 65535 || grid.z > 65535 ||
      block.x == 0 || block.y == 0 || block.z == 0 || block.x > 1024 || block.y > 1024 || block.z > 64 ||
      block.x * block.y * block.z > 1024;
}

cudaError_t launch(Machine& machine, const void* handle, dim3 grid, dim3 block, void** arguments,
                   std::size_t shared_bytes, cudaStream_t stream_handle) {
  const auto function = functions().find(handle);
  if (function == functions().end()) return cudaErrorInvalidDeviceFunction;
  const std::string& name = function->second.name;
  const auto kernel = kernels().find(name);
  if (kernel == kernels().end()) {
    machine.findings.push_back("no build for the processor provides the kernel " + name);
    return cudaErrorInvalidDeviceFunction;
  }
  const Stream* stream = streams().find(stream_handle);
  if (stream == nullptr || stream->queue->device != chosen_device) return cudaErrorInvalidResourceHandle;
  if (too_large(grid, block)) return cudaErrorInvalidConfiguration;
  const auto asked = function->second.shared_limits.find(chosen_device);
  if (shared_bytes > (asked == function->second.shared_limits.end() ? 48 << 10 : asked->second)) {
    return cudaErrorInvalidValue;
  }
  const bool fails = machine.fails(machine.settings.failing_launch, chosen_device);
  machine.push(stream->queue, "kernel " + name,
               [&machine, name, fails, device = chosen_device,
                run = kernel->second({grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared_bytes, arguments)] {
                 if (fails) {
                   machine.fail(device, cudaErrorLaunchFailure, "kernel " + name + " was told to fail");
                   return Progress::done;
                 }
                 simt::Options options{.patterns = false};
                 if (machine.settings.seed != 0) {
                   options.seed = machine.random() | 1;
                   options.early_copies = machine.random() % 2 == 0;
                 }
                 const simt::Report report = run(options);
                 if (!report.findings.empty()) {
                   machine.fail(device, cudaErrorIllegalAddress, "kernel " + name + ": " + report.text());
                 }
                 return Progress::done;
               });
  return cudaSuccess;
}

struct Words {
  cudaError_t error;
  const char* name;
  const char* text;
};
constexpr Words words[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchTimeout, "cudaErrorLaunchTimeout", "the launch timed out and was terminated"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
};
const Words& words_of(cudaError_t error) {
  static constexpr Words unknown{cudaErrorUnknown, "cudaErrorUnknown", "unknown error"};
  const Words* found = std::find_if(std::begin(words), std::end(words), [&](const Words& w) { return w.error == error; });
  return found == std::end(words) ? unknown : *found;
}

}  // namespace

void provide_kernel(const std::string& mangled_name, Kernel kernel) {
  kernels()[mangled_name] = std::move(kernel);
}

int current_device() {
  return chosen_device;
}

std::shared_ptr<Queue> queue_of(cudaStream_t stream) {
  const Stream* found = streams().find(stream);
  return found == nullptr ? nullptr : found->queue;
}

}  // namespace doubles

using namespace doubles;

// The names and types are those of the library that this stands for.
// NOLINTBEGIN
extern "C" {

// What code made by nvcc calls.
void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) {
  return 1;
}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
  functions()[host] = {.name = name};
}
struct LaunchConfiguration {
  dim3 grid, block;
  std::size_t shared_bytes;
  cudaStream_t stream;
};
static thread_local LaunchConfiguration pushed;
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream) {
  pushed = {grid, block, shared_bytes, stream};
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared_bytes, void* stream) {
  *grid = pushed.grid;
  *block = pushed.block;
  *shared_bytes = pushed.shared_bytes;
  *static_cast<cudaStream_t*>(stream) = pushed.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                               cudaStream_t stream) {
  return cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream);
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, std::size_t shared_bytes,
                             cudaStream_t stream) {
  return call([&](Machine& machine, Lock&) {
    return launch(machine, function, grid, block, arguments, shared_bytes, stream);
  });
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  return call([&](Machine& machine, Lock&) {
    const auto found = functions().find(function);
    if (found == functions().end()) return cudaErrorInvalidDeviceFunction;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        static_cast<std::size_t>(value) > most_shared_bytes(machine.settings.capability)) {
      return cudaErrorInvalidValue;
    }
    found->second.shared_limits[chosen_device] = static_cast<std::size_t>(value);
    return cudaSuccess;
  });
}

// Devices and errors.
cudaError_t cudaGetDeviceCount(int* count) {
  return call([&](Machine& machine, Lock&) {
    *count = machine.settings.devices;
    return cudaSuccess;
  });
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  return call([&](Machine& machine, Lock&) {
    if (device < 0 || device >= machine.settings.devices) return cudaErrorInvalidDevice;
    *properties = {};
    std::strcpy(properties->name, "test double");
    properties->major = machine.settings.capability / 10;
    properties->minor = machine.settings.capability % 10;
    properties->totalGlobalMem = machine.settings.memory_bytes;
    return cudaSuccess;
  });
}
cudaError_t cudaSetDevice(int device) {
  return call([&](Machine& machine, Lock&) {
    if (device < 0 || device >= machine.settings.devices) return cudaErrorInvalidDevice;
    chosen_device = device;
    return cudaSuccess;
  });
}
cudaError_t cudaGetDevice(int* device) {
  return call([&](Machine&, Lock&) {
    *device = chosen_device;
    return cudaSuccess;
  });
}
cudaError_t cudaGetLastError() {
  return std::exchange(last_error, cudaSuccess);
}
const char* cudaGetErrorName(cudaError_t error) {
  return words_of(error).name;
}
const char* cudaGetErrorString(cudaError_t error) {
  Machine& machine = Machine::get();
  const Lock lock(machine.mutex);
  const bool found = error == cudaErrorInvalidDeviceFunction ||
      std::any_of(machine.broken.begin(), machine.broken.end(), [&](const auto& broken) { return broken.second == error; });
  return error != cudaSuccess && found && !machine.findings.empty() ? machine.findings.back().c_str()
                                                                    : words_of(error).text;
}

// Memory.
cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t handle) {
  return call([&](Machine& machine, Lock& lock) {
    const Stream* stream = streams().find(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (bytes == 0) return cudaErrorInvalidValue;
    void* taken = machine.take(bytes, false, stream->queue->device, lock);
    if (taken == nullptr) return cudaErrorMemoryAllocation;
    machine.push(stream->queue, "allocation", [&machine, taken] {
      machine.open(taken);
      return Progress::done;
    });
    *pointer = taken;
    return cudaSuccess;
  });
}
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  return call([&](Machine& machine, Lock&) {
    const Stream* stream = streams().find(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    const auto* found = machine.find(pointer);
    if (found == nullptr || found->second.pinned || found->first != reinterpret_cast<std::uintptr_t>(pointer)) {
      return cudaErrorInvalidValue;
    }
    machine.push(stream->queue, "giving back memory", [&machine, pointer, found] {
      if (found->second.state != Allocation::State::live) throw Finding("double free of " + found->second.name);
      machine.close(pointer);
      return Progress::done;
    });
    return cudaSuccess;
  });
}
cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  return call([&](Machine& machine, Lock& lock) {
    if (bytes == 0) return cudaErrorInvalidValue;
    void* taken = machine.take(bytes, false, chosen_device, lock);
    if (taken == nullptr) return cudaErrorMemoryAllocation;
    machine.open(taken);
    *pointer = taken;
    return cudaSuccess;
  });
}
cudaError_t cudaFree(void* pointer) {
  return call([&](Machine& machine, Lock&) {
    const auto* found = machine.find(pointer);
    if (found == nullptr || found->second.pinned || found->second.state != Allocation::State::live ||
        found->first != reinterpret_cast<std::uintptr_t>(pointer)) {
      return cudaErrorInvalidValue;
    }
    // Nobody promises that this waits for work of other devices, nor that such work has not begun.
    if (machine.settings.seed != 0) machine.run_some();
    machine.close(pointer);
    return cudaSuccess;
  });
}
cudaError_t cudaDeviceCanAccessPeer(int* reaches, int device, int peer) {
  return call([&](Machine& machine, Lock&) {
    const int count = machine.settings.devices;
    if (device < 0 || device >= count || peer < 0 || peer >= count) return cudaErrorInvalidDevice;
    *reaches = device != peer && !machine.settings.devices_apart;
    return cudaSuccess;
  });
}
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
  return call([&](Machine& machine, Lock&) {
    if (flags != 0) return cudaErrorInvalidValue;
    if (peer < 0 || peer >= machine.settings.devices || peer == chosen_device) return cudaErrorInvalidDevice;
    if (machine.settings.devices_apart) return cudaErrorPeerAccessUnsupported;
    return machine.reached.insert({chosen_device, peer}).second ? cudaSuccess : cudaErrorPeerAccessAlreadyEnabled;
  });
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  return call([&](Machine& machine, Lock&) {
    *total = machine.settings.memory_bytes;
    *free = *total - machine.used_bytes(chosen_device);
    return cudaSuccess;
  });
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  return call([&](Machine& machine, Lock&) {
    *attributes = {};
    attributes->type = cudaMemoryTypeUnregistered;
    if (const auto* found = machine.find(pointer); found != nullptr) {
      attributes->type = found->second.pinned ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
    }
    return cudaSuccess;
  });
}
cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  return call([&](Machine& machine, Lock& lock) {
    void* taken = machine.take(bytes, true, 0, lock);
    if (taken == nullptr) return cudaErrorMemoryAllocation;
    machine.open(taken);
    *pointer = taken;
    return cudaSuccess;
  });
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  return cudaMallocHost(pointer, bytes);
}
cudaError_t cudaFreeHost(void* pointer) {
  return call([&](Machine& machine, Lock&) {
    const auto* found = machine.find(pointer);
    if (found == nullptr || !found->second.pinned || found->second.state != Allocation::State::live) {
      return cudaErrorInvalidValue;
    }
    // Nobody promises that this waits for work that is queued, nor that such work has not begun.
    if (machine.settings.seed != 0) machine.run_some();
    machine.close(pointer);
    return cudaSuccess;
  });
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  return call([&](Machine& machine, Lock& lock) {
    return copy(machine, lock, {static_cast<char*>(to), bytes, static_cast<const char*>(from), bytes, bytes, 1}, kind,
                stream);
  });
}
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return call([&](Machine& machine, Lock& lock) {
    return copy(machine, lock,
                {static_cast<char*>(to), to_pitch, static_cast<const char*>(from), from_pitch, width, height}, kind,
                stream);
  });
}

// Streams and events.
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return call([&](Machine& machine, Lock&) {
    if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;  // there is no default stream to be blocked by
    *stream = reinterpret_cast<cudaStream_t>(streams().add({machine.make_queue(chosen_device)}));
    return cudaSuccess;
  });
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call([&](Machine&, Lock&) {
    return streams().remove(stream) ? cudaSuccess : cudaErrorInvalidResourceHandle;  // its work goes on
  });
}
cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return call([&](Machine& machine, Lock& lock) {
    const Stream* stream = streams().find(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    const std::shared_ptr<Queue> queue = stream->queue;
    machine.finish({queue, queue->queued}, lock);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned) {
  return call([&](Machine& machine, Lock&) {
    const Stream* stream = streams().find(handle);
    const Event* event = events().find(event_handle);
    if (stream == nullptr || event == nullptr) return cudaErrorInvalidResourceHandle;
    machine.push(stream->queue, "waiting for an event", [] { return Progress::done; }, {event->ticket});
    return cudaSuccess;
  });
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return call([&](Machine&, Lock&) {
    *event = reinterpret_cast<cudaEvent_t>(events().add({chosen_device, {}}));
    return cudaSuccess;
  });
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call([&](Machine&, Lock&) {
    return events().remove(event) ? cudaSuccess : cudaErrorInvalidResourceHandle;
  });
}
cudaError_t cudaEventRecord(cudaEvent_t event_handle, cudaStream_t handle) {
  return call([&](Machine& machine, Lock&) {
    const Stream* stream = streams().find(handle);
    Event* event = events().find(event_handle);
    if (stream == nullptr || event == nullptr || event->device != stream->queue->device) {
      return cudaErrorInvalidResourceHandle;
    }
    event->ticket = machine.push(stream->queue, "event", [] { return Progress::done; });
    return cudaSuccess;
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return call([&](Machine& machine, Lock& lock) {
    const Event* event = events().find(handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    const Ticket ticket = event->ticket;
    machine.finish(ticket, lock);
    return cudaSuccess;
  });
}
cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return call([&](Machine& machine, Lock&) {
    const Event* event = events().find(handle);
    if (event == nullptr) return cudaErrorInvalidResourceHandle;
    if (event->ticket.reached()) return cudaSuccess;
    machine.run_some();  // so that asking again and again ends
    return event->ticket.reached() ? cudaSuccess : cudaErrorNotReady;
  });
}

}  // extern "C"
// NOLINTEND
