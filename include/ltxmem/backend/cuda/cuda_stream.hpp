// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "ltxmem/backend/cuda/cuda_error.hpp"
#include "ltxmem/core/stream.hpp"

/// Streams and events of the device that is current where they are made. Destructors wait for nothing: the runtime
/// releases a stream or event once the work that uses it is done.

namespace ltxmem {

/// A mark in a stream.
class CudaEvent {
 public:
  CudaEvent() { cuda::check("cudaEventCreateWithFlags", cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
  CudaEvent(CudaEvent&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  CudaEvent& operator=(CudaEvent&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~CudaEvent() {
    if (event_ != nullptr) static_cast<void>(cudaEventDestroy(event_));
  }

  cudaEvent_t native() const noexcept { return event_; }

  /// The calling thread waits until the stream has passed the mark.
  void synchronize() const { cuda::check("cudaEventSynchronize", cudaEventSynchronize(event_)); }

  /// Whether the stream has passed the mark.
  bool has_happened() const {
    const cudaError_t status = cudaEventQuery(event_);
    if (status == cudaErrorNotReady) return false;
    cuda::check("cudaEventQuery", status);
    return true;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

/// An ordered queue of work that waits for no other one by itself.
class CudaStream {
 public:
  CudaStream() { cuda::check("cudaStreamCreateWithFlags", cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  CudaStream(CudaStream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  CudaStream& operator=(CudaStream&&) = delete;
  ~CudaStream() {
    if (stream_ != nullptr) static_cast<void>(cudaStreamDestroy(stream_));
  }

  cudaStream_t native() const noexcept { return stream_; }
  StreamRef ref() const noexcept { return {stream_}; }

  void record(const CudaEvent& event) const {
    cuda::check("cudaEventRecord", cudaEventRecord(event.native(), stream_));
  }
  /// Work given to this stream from now on starts after the mark.
  void wait(const CudaEvent& event) const {
    cuda::check("cudaStreamWaitEvent", cudaStreamWaitEvent(stream_, event.native(), 0));
  }
  /// The calling thread waits until the stream is empty.
  void synchronize() const { cuda::check("cudaStreamSynchronize", cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace ltxmem
