// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <typeindex>
#include <unordered_map>

#include "ltxmem/backend/cuda/backend.cuh"
#include "ltxmem/backend/cuda/cuda_peer.hpp"
#include "ltxmem/backend/cuda/cuda_resource.hpp"
#include "runtime/card_backend.hpp"
#include "runtime/card_functions.hpp"

/// The library ltx2_card: CudaBackend for programs that nvcc did not compile.

namespace ltx2 {
namespace {

using ltxmem::bfloat16;
using ltxmem::CudaBackend;

using Perform = void (*)(CudaBackend& backend, const void* call);
using Calls = std::unordered_map<std::type_index, Perform>;

template <class... Call>
void add(Calls& calls) {
  (calls.emplace(typeid(Call),
                 [](CudaBackend& backend, const void* call) { (*static_cast<const Call*>(call))(backend); }),
   ...);
}

template <class T>
void add_element(Calls& calls) {
  using namespace card;
  add<Norm<T>, HeadNorm<T>, HeadNormFactors<T>, AttentionAppend<T>, AttentionFinalize<T>, Convolve<T>,
      ConvolveTransposed<T>, Linear<T, T>, Copy<T, T>, CopyAsync<T>>(calls);
}

Calls make_calls() {
  using namespace card;
  Calls calls;
  add_element<float>(calls);
  add_element<bfloat16>(calls);
  add<Linear<bfloat16, float>, Copy<float, bfloat16>, Copy<bfloat16, float>, Copy<std::int32_t, std::int32_t>,
      CopyAsync<std::byte>>(calls);
  add<AttentionReset, AttentionMerge, Wait, SynchronizeEvent, Synchronize, MakeCurrent, EnterStep, LeaveStep>(calls);
  visit_card_functions([&]<class Fn>() { add<ForEach<Fn>>(calls); });
  return calls;
}

/// Memory of a card, for any thread.
class CardMemory {
 public:
  explicit CardMemory(const CudaBackend& backend) : device_(backend.device().index), memory_(backend.stream()) {}

  void* allocate(std::size_t bytes, std::size_t alignment) {
    const ltxmem::CurrentCudaDevice scope(device_);
    return memory_.allocate(bytes, alignment);
  }
  void deallocate(void* pointer, std::size_t bytes, std::size_t alignment) noexcept {
    memory_.deallocate(pointer, bytes, alignment);
  }

 private:
  int device_;
  ltxmem::CudaResource memory_;
};

class CudaCard final : public Card {
 public:
  explicit CudaCard(int index) : backend_(index), memory_(backend_) {}

  void perform(const std::type_info& type, const void* call) override {
    static const Calls calls = make_calls();
    const auto known = calls.find(type);
    ltxmem::expects<ltxmem::Error>(known != calls.end(), "no card knows the call ", type.name());
    known->second(backend_, call);
  }
  ltxmem::StreamRef stream() const noexcept override { return backend_.stream(); }
  ltxmem::ResourceRef memory() noexcept override { return memory_; }
  ltxmem::ResourceRef pinned_memory() noexcept override { return pinned_; }
  ltxmem::ResourceRef peer_memory(int index) override { return peers_.try_emplace(index, index).first->second; }

 private:
  CudaBackend backend_;
  CardMemory memory_;
  ltxmem::PinnedResource pinned_;
  std::map<int, ltxmem::PeerResource> peers_;
};

}  // namespace
}  // namespace ltx2

// The functions that the program looks up by name.

extern "C" int ltx2_count_cards() {
  static_cast<void>(ltxmem::find_cuda_device(0));
  return ltxmem::cuda_device_count();
}

extern "C" std::size_t ltx2_free_card_memory(int index) {
  const ltxmem::CudaDevice device = ltxmem::find_cuda_device(index);
  // And not back to the one before, which may be one that is not wanted: that would take memory of it.
  ltxmem::cuda::check("cudaSetDevice", cudaSetDevice(device.index));
  std::size_t free = 0;
  std::size_t total = 0;
  ltxmem::cuda::check("cudaMemGetInfo", cudaMemGetInfo(&free, &total));
  return free;
}

extern "C" ltx2::Card* ltx2_make_card(int index) {
  return new ltx2::CudaCard(index);
}
