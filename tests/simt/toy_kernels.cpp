// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/backend/cuda/ptx.cuh"
#include "simt/toys.hpp"

namespace simt::toys {

using namespace ltxmem::cuda;

namespace {
struct alignas(16) Floats {
  float at[64];
};
int thread() {
  return static_cast<int>(threadIdx.x);
}
}  // namespace

void reverse(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  store(&shared.at[thread()], load(a.in + thread()));
  __syncthreads();
  store(a.out + thread(), load(&shared.at[63 - thread()]));
}

void reverse_without_barrier(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  store(&shared.at[thread()], load(a.in + thread()));
  store(a.out + thread(), load(&shared.at[63 - thread()]));
}

void overwrite_without_barrier(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  store(&shared.at[thread()], load(a.in + thread()));
  __syncthreads();
  store(a.out + thread(), load(&shared.at[63 - thread()]));
  store(&shared.at[thread()], 0.0F);
}

void past_the_end(Arguments a) {
  store(a.out + thread() + 1, 1.0F);
}
void raw_past_the_end(Arguments a) {
  a.out[thread() + 1] = 1.0F;
}
void read_only(Arguments a) {
  store(const_cast<float*>(a.in) + thread(), 1.0F);
}

void uninitialised_shared(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  if (thread() != 7) store(&shared.at[thread()], 1.0F);
  __syncthreads();
  store(a.out + thread(), load(&shared.at[thread()]));
}
void uninitialised_global(Arguments a) {
  store(a.out + thread(), load(a.out + thread()) + 1.0F);
}

void barrier_in_branch(Arguments a) {
  if (thread() < 32) {
    __syncthreads();
  }
  store(a.out + thread(), 1.0F);
}

void two_barriers(Arguments a) {
  if (thread() < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  store(a.out + thread(), 1.0F);
}

void shuffle_in_branch(Arguments a) {
  float value = load(a.in + thread());
  if (thread() % 32 < 16) value = __shfl_xor_sync(0xffffffffU, value, 1);
  value = __shfl_xor_sync(0xffffffffU, value, 2);
  store(a.out + thread(), value);
}

void warp_exchange(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  store(&shared.at[thread()], load(a.in + thread()));
  __syncwarp();
  store(a.out + thread(), load(&shared.at[thread() ^ 31]));
}
void warp_exchange_without_barrier(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  store(&shared.at[thread()], load(a.in + thread()));
  const float value = __shfl_sync(0xffffffffU, 1.0F, 0);  // lanes meet, but that orders no memory
  store(a.out + thread(), load(&shared.at[thread() ^ 31]) * value);
}

void copy(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  if (thread() < 16) cp_async_16(&shared.at[4 * thread()], a.in + 4 * thread(), thread() != 3);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  store(a.out + thread(), load(&shared.at[thread()]));
}
void copy_without_wait(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  if (thread() < 16) cp_async_16(&shared.at[4 * thread()], a.in + 4 * thread(), true);
  cp_async_commit();
  __syncthreads();
  store(a.out + thread(), load(&shared.at[thread()]));
  cp_async_wait<0>();
}
void copy_without_commit(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  if (thread() < 16) cp_async_16(&shared.at[4 * thread()], a.in + 4 * thread(), true);
  cp_async_wait<0>();
  __syncthreads();
  store(a.out + thread(), load(&shared.at[thread()]));
}
void copy_never_waited_for(Arguments a) {
  auto& shared = dynamic_shared<Floats>();
  if (thread() < 16) cp_async_16(&shared.at[4 * thread()], a.in + 4 * thread(), true);
  cp_async_commit();
}

void blocks_write_the_same(Arguments a) {
  store(a.out + thread(), 1.0F);
}

void column_access(Arguments a) {
  struct Words {
    float at[32 * 33];
  };
  auto& shared = dynamic_shared<Words>();
  store(&shared.at[thread() * a.choice], 1.0F);
}

void warp_functions(Arguments a) {
  const std::uint32_t mine = 100U + threadIdx.x;
  const auto note = [&](int row, std::uint32_t value) { store(a.words + 32 * row + thread(), value); };
  note(0, __shfl_sync(0xffffffffU, mine, 5));
  note(1, __shfl_xor_sync(0xffffffffU, mine, 3));
  note(2, __shfl_up_sync(0xffffffffU, mine, 2));
  note(3, __shfl_down_sync(0xffffffffU, mine, 2));
  note(4, __shfl_sync(0xffffffffU, mine, 9, 8));
  note(5, __ballot_sync(0xffffffffU, thread() % 3 == 0));
  const std::uint32_t half = thread() < 16 ? 0x0000ffffU : 0xffff0000U;
  note(6, __ballot_sync(half, thread() % 2 == 0));
}

void multiply(Arguments a) {
  std::uint32_t left[4];
  std::uint32_t right[2];
  for (int i = 0; i < 4; ++i) left[i] = load(a.words + 6 * thread() + i);
  for (int i = 0; i < 2; ++i) right[i] = load(a.words + 6 * thread() + 4 + i);
  float d[4] = {0.5F, 0.5F, 0.5F, 0.5F};
  if (a.choice == 1) {
    mma_m16n8k16<ltxmem::half>(d, left, right[0], right[1]);
  } else {
    mma_m16n8k16<ltxmem::bfloat16>(d, left, right[0], right[1]);
  }
  for (int i = 0; i < 4; ++i) store(a.out + 4 * thread() + i, d[i]);
}

void matrices(Arguments a) {
  struct alignas(16) Pieces {
    float at[32][4];
  };
  auto& shared = dynamic_shared<Pieces>();
  for (int i = 0; i < 4; ++i) store(&shared.at[thread()][i], load(a.in + 4 * thread() + i));
  __syncwarp();
  std::uint32_t r[4];
  if (a.choice == 1) {
    ldmatrix_x4_trans(r, shared.at[thread()]);
  } else {
    ldmatrix_x4(r, shared.at[thread()]);
  }
  for (int i = 0; i < 4; ++i) store(a.words + 4 * thread() + i, r[i]);
}

}  // namespace simt::toys
