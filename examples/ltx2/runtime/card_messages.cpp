// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/card_messages.hpp"

#include <string>

#include "runtime/card_library.hpp"

namespace ltx2 {
namespace {

template <class Function>
Function* nccl_function(const char* name) {
  try {
    return library_function<Function>("libltx2_nccl.so", name);
  } catch (const LibraryError& error) {
    if (!error.is_absent()) throw ltxmem::DeviceError(std::string("NCCL cannot be used: ") + error.what());
    throw ltxmem::ShapeError(
        "--device cuda: this build has no NCCL, which carries messages between cards; expected one rank");
  }
}

constexpr const char* join = "ltx2_join_cards";

}  // namespace

void expect_nccl() {
  static_cast<void>(nccl_function<void()>(join));
}

CardMessages::Wait wait_as(const ltxmem::AnyTransport& meeting) {
  return [meeting](ltxmem::RankOperation operation, int peer, const std::function<bool()>& has_happened) {
    meeting.watch(operation, peer, has_happened);
  };
}

std::unique_ptr<CardMessages> join_cards(const ltxmem::AnyTransport& meeting) {
  CardMessages::Id id{};
  if (meeting.rank() == 0) nccl_function<void(CardMessages::Id&)>("ltx2_name_cards")(id);
  ltxmem::detail::CallingThread thread;
  ltxmem::MessageRanks<ltxmem::AnyTransport>(meeting).broadcast(
      thread, 0, ltxmem::TensorView<std::byte, 2>(id.data(), {1, static_cast<std::int64_t>(id.size())}));
  using Join = CardMessages*(const CardMessages::Id&, int rank, int size, const CardMessages::Wait&);
  return std::unique_ptr<CardMessages>(nccl_function<Join>(join)(id, meeting.rank(), meeting.size(), wait_as(meeting)));
}

}  // namespace ltx2
