// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <string>

#include "ltxmem/backend/cuda/cuda_device.hpp"
#include "ltxmem/backend/cuda/cuda_resource.hpp"
#include "ltxmem/backend/cuda/cuda_stream.hpp"
#include "support/catch.hpp"

using namespace ltxmem;

namespace {

template <class Fn>
std::string refusal(Fn&& fn) {
  try {
    fn();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a device that is not there is refused in one sentence") {
  const int count = cuda_device_count();
  const std::string text = refusal([&] { find_cuda_device(count); });
  INFO(text);
  if (count == 0) {
    CHECK(text.starts_with("no CUDA device can be used: "));
  } else {
    CHECK(text == "CUDA device " + std::to_string(count) + " does not exist, there are " + std::to_string(count));
  }
  CHECK(text.find('\n') == std::string::npos);
}

TEST_CASE("without a device every call of the runtime ends in an error that names it") {
  if (cuda_device_count() > 0) {
    WARN("skipped: there is a CUDA device");
    return;
  }
  const auto names = [](const std::string& text, const std::string& call) {
    INFO(text);
    return text.starts_with(call + ": error ") && text.find(" (cudaError") != std::string::npos;
  };
  CHECK(names(refusal([] { CudaStream(); }), "cudaStreamCreateWithFlags"));
  CHECK(names(refusal([] { CudaEvent(); }), "cudaEventCreateWithFlags"));
  CHECK(names(refusal([] { CudaResource({}).allocate(1, buffer_alignment); }), "cudaMallocAsync"));
  CHECK(names(refusal([] { PinnedResource().allocate(1, buffer_alignment); }), "cudaMallocHost"));
  try {
    CudaStream stream;
    FAIL("a stream without a device");
  } catch (const CudaError& error) {
    CHECK(error.code() != 0);
  }
}

TEST_CASE("memory of no bytes asks the device for nothing") {
  CudaResource device({});
  PinnedResource pinned;
  CHECK(device.allocate(0, buffer_alignment) == nullptr);
  CHECK(pinned.allocate(0, buffer_alignment) == nullptr);
  device.deallocate(nullptr, 0, buffer_alignment);
  pinned.deallocate(nullptr, 0, buffer_alignment);
  CHECK(refusal([&] { device.allocate(1, 4096); }) == "device memory: alignment 4096, at most 256");
  CHECK(refusal([&] { pinned.allocate(1, 4096); }) == "pinned memory: alignment 4096, at most 256");
}
