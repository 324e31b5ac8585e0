// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include <cstring>
#include <memory>
#include <utility>

#include "ltxmem/parallel/nccl_communicator.hpp"
#include "runtime/card_messages.hpp"

/// The library ltx2_nccl: NCCL for programs that only load it when several cards are asked for.

namespace ltx2 {
namespace {

/// Memory that is given in the order of a stream is not reached by other cards, which NCCL takes for granted of ranks
/// in one process. Set before its first call, unless the user has.
[[maybe_unused]] const int copies_rows = ::setenv("NCCL_P2P_DIRECT_DISABLE", "1", 0);

class NcclMessages final : public CardMessages {
 public:
  NcclMessages(const ncclUniqueId& id, int rank, int size, Wait wait)
      : transport_(id, rank, size, {.wait = std::move(wait)}) {}

  void wait_by(Wait wait) override { transport_.wait_by(std::move(wait)); }

  std::unique_ptr<Pending> post(ltxmem::StreamRef stream, const ltxmem::RankMessages& messages) override {
    const Queue queue{stream};
    return std::make_unique<Held>(transport_.post(queue, messages));
  }
  void finish(Pending& pending) override {
    const Queue queue{};
    transport_.finish(queue, static_cast<Held&>(pending).request);
  }

 private:
  /// All that a transport wants of a backend.
  struct Queue {
    ltxmem::StreamRef of{};
    ltxmem::StreamRef stream() const noexcept { return of; }
  };
  struct Held final : Pending {
    explicit Held(ltxmem::NcclTransport::Request held) : request(std::move(held)) {}
    ltxmem::NcclTransport::Request request;
  };

  ltxmem::NcclTransport transport_;
};

}  // namespace
}  // namespace ltx2

// The functions that the program looks up by name.

static_assert(sizeof(ncclUniqueId) == sizeof(ltx2::CardMessages::Id));

extern "C" void ltx2_name_cards(ltx2::CardMessages::Id& id) {
  ncclUniqueId name{};
  const ncclResult_t status = ncclGetUniqueId(&name);
  ltxmem::expects<ltxmem::NcclError>(status == ncclSuccess, "ncclGetUniqueId: ", ncclGetErrorString(status));
  std::memcpy(id.data(), &name, sizeof name);
}

extern "C" ltx2::CardMessages* ltx2_join_cards(const ltx2::CardMessages::Id& id, int rank, int size,
                                               const ltx2::CardMessages::Wait& wait) {
  ncclUniqueId name{};
  std::memcpy(&name, id.data(), sizeof name);
  return new ltx2::NcclMessages(name, rank, size, wait);
}
