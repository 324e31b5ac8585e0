// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <string>
#include <vector>

#include "cuda/runners.hpp"
#include "doubles/control.hpp"
#include "ltxmem/backend/cuda/cuda_device.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

/// What CudaBackend says, and leaves behind, when the device fails it.

using namespace ltxmem;

namespace {

/// A network that takes several allocations, launches and products; true when its values are those of a run that
/// nothing disturbed.
bool run_network() {
  const std::int64_t tokens = 5, width = 16, hidden = 24;
  const auto x = test::random_values<bfloat16>(tokens * width, 1);
  const auto up = test::random_values<float8_e4m3>(hidden * width, 2);
  const auto down = test::random_values<bfloat16>(width * hidden, 3);
  LinearEpilogue<bfloat16> epilogue;
  epilogue.activation = Activation::silu;
  std::vector<bfloat16> y(x.size());
  test::on_device::ffn<bfloat16>(
      {x.data(), {tokens, width}}, TensorView<const float8_e4m3, 2>(up.data(), {hidden, width}), {},
      TensorView<const bfloat16, 2>(down.data(), {width, hidden}), {}, {}, epilogue, {y.data(), {tokens, width}});
  static const std::vector<bfloat16> first = y;
  return test::same_bits(y, first);
}

template <class E>
std::string refusal() {
  try {
    run_network();
  } catch (const E& error) {
    return error.what();
  }
  return "";
}

/// A case that changes the machine, and leaves the one that the other cases want.
struct OtherMachine {
  ~OtherMachine() { doubles::reset(doubles::settings_of_environment()); }
};

}  // namespace

TEST_CASE_METHOD(OtherMachine, "work leaves no allocation and no finding behind") {
  doubles::reset({});
  CHECK(run_network());
  CHECK(doubles::findings().empty());
  CHECK(doubles::live_allocations() == 0);
}

TEST_CASE_METHOD(OtherMachine, "without a driver, without a device or with an old one the reason is one sentence") {
  doubles::reset({.devices = -1});
  CHECK(cuda_device_count() == 0);
  CHECK(refusal<DeviceError>().starts_with("no CUDA device can be used: "));
  doubles::reset({.devices = 0});
  CHECK(cuda_device_count() == 0);
  CHECK(refusal<DeviceError>().starts_with("no CUDA device can be used: "));
  doubles::reset({.capability = 75});
  const std::string old = refusal<DeviceError>();
  INFO(old);
  CHECK(old.starts_with("CUDA device 0 ("));
  CHECK(old.ends_with(") has compute capability 7.5, needed is 8.0 or newer"));
  doubles::reset({.devices = 2});
  CHECK_THROWS_WITH(find_cuda_device(2), "CUDA device 2 does not exist, there are 2");
  CHECK(find_cuda_device(1).capability == 90);
  CHECK_THROWS_WITH(find_cuda_device(-1), "CUDA device -1 does not exist, there are 2");
}

TEST_CASE_METHOD(OtherMachine, "memory that runs out at any point is named, and what was taken goes back") {
  int failures = 0;
  for (int which = 1; which < 50; ++which) {
    doubles::reset({.failing_allocation = which});
    const std::string text = refusal<OutOfMemory>();
    if (text.empty()) break;
    ++failures;
    CHECK(text.starts_with("device memory: out of memory: asked for "));
    CHECK(doubles::findings().empty());
    CHECK(doubles::live_allocations() == 0);
  }
  CHECK(failures >= 4);  // the operands, the result and the workspace
}

TEST_CASE_METHOD(OtherMachine, "a kernel that fails on the device is noticed by a later call") {
  int failures = 0;
  for (int which = 1; which < 50; ++which) {
    doubles::reset({.failing_launch = which});
    const std::string text = refusal<CudaError>();
    if (text.empty()) break;
    ++failures;
    INFO(text);
    CHECK(text.find(": error 719 (cudaErrorLaunchFailure") != std::string::npos);
  }
  CHECK(failures >= 2);
}

TEST_CASE_METHOD(OtherMachine,
                 "a product that the library does not offer, or only with more workspace, is refused by name") {
  doubles::reset({.no_products = true});
  CHECK(refusal<DeviceError>() == "cublasLt: no algorithm for 24 outputs and 16 inputs of type BF16 to BF16");
  doubles::reset({.greedy_products = true});
  const std::string greedy = refusal<DeviceError>();
  INFO(greedy);
  CHECK(greedy.starts_with("cublasLt: an algorithm for 24 outputs and 16 inputs wants "));
  CHECK(greedy.ends_with(" bytes of workspace, granted are 4194304"));
  CHECK(doubles::findings().empty());
  CHECK(doubles::live_allocations() == 0);
}
