// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <string>

#include "ltxmem/backend/cuda/cuda_device.hpp"
#include "ltxmem/parallel/nccl_communicator.hpp"
#include "support/catch.hpp"

using namespace ltxmem;

namespace {

struct Archetype {
  StreamRef stream() const;
  template <class T>
  void copy(TensorView<const T, 2> from, TensorView<T, 2> to);
  template <class Fn>
  void for_each(const OperationCost& cost, std::int64_t count, Fn fn);
};

}  // namespace

static_assert(Communicator<NcclCommunicator, Archetype>);

TEST_CASE("a rank that does not exist is refused before NCCL is asked") {
  CHECK_THROWS_WITH(NcclCommunicator(ncclUniqueId{}, 2, 2), "nccl communicator: rank 2 of 2");
  CHECK_THROWS_WITH(NcclCommunicator(ncclUniqueId{}, 0, 0), "nccl communicator: rank 0 of 0");
}

TEST_CASE("without a device a communicator ends in an error that names the call") {
  if (cuda_device_count() > 0) {
    WARN("skipped: there is a CUDA device");
    return;
  }
  ncclUniqueId id{};
  REQUIRE(ncclGetUniqueId(&id) == ncclSuccess);
  CHECK_THROWS_AS(NcclCommunicator(id, 0, 1), CudaError);
}
