// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include <bit>
#include <string>

#include "ltxmem/core/dtype.hpp"
#include "simt/device_buffer.hpp"
#include "simt/toys.hpp"
#include "support/catch.hpp"
#include "support/numbers.hpp"

using ltxmem::test::random_values;
using simt::DeviceBuffer;
namespace toys = simt::toys;

namespace {

const simt::Options schedules[] = {{0, false}, {0, true}, {1, false}, {2, true}, {3, false}, {4, true}};

std::string findings(toys::Kernel kernel, const simt::Options& options, unsigned blocks = 1) {
  const DeviceBuffer<float> in("in", random_values<float>(64, 1));
  const DeviceBuffer<float> out("out", 64);
  return simt::launch(kernel, {blocks}, {64}, 256, options, toys::Arguments{in.data(), out.data()}).text();
}

/// The mistake is found in every schedule, because the checker looks at what may happen, not at what did.
void expect_found(toys::Kernel kernel, const std::string& what, unsigned blocks = 1) {
  for (const simt::Options& options : schedules) {
    INFO("seed " << options.seed << ", early copies " << options.early_copies);
    CHECK_THAT(findings(kernel, options, blocks), Catch::Matchers::Contains(what));
  }
}

}  // namespace

TEST_CASE("correct kernels run clean in every schedule", "[executor]") {
  for (const simt::Options& options : schedules) {
    const DeviceBuffer<float> in("in", random_values<float>(64, 1));
    for (const auto kernel : {&toys::reverse, &toys::warp_exchange, &toys::copy}) {
      const DeviceBuffer<float> out("out", 64);
      const auto report = simt::launch(kernel, {1}, {64}, 256, options, toys::Arguments{in.data(), out.data()});
      REQUIRE(report.text() == "");
      for (int i = 0; i < 64; ++i) {
        const int from = kernel == &toys::reverse ? 63 - i : kernel == &toys::warp_exchange ? i ^ 31 : i;
        const bool zero = kernel == &toys::copy && i / 4 == 3;
        CHECK(out.data()[i] == (zero ? 0.0F : in.data()[from]));
      }
      CHECK(report.counters.global_loaded_bytes == (kernel == &toys::copy ? 240 : 256));
      CHECK(report.counters.global_stored_bytes == 256);
      CHECK(report.counters.shared_loaded_bytes == 256);
      CHECK(report.counters.sectors == report.counters.ideal_sectors);
    }
  }
}

TEST_CASE("races are found in every schedule", "[executor]") {
  expect_found(&toys::reverse_without_barrier, "race");
  expect_found(&toys::overwrite_without_barrier, "race");
  expect_found(&toys::warp_exchange_without_barrier, "race");
  expect_found(&toys::blocks_write_the_same, "race: write after write", 2);
}

TEST_CASE("accesses outside of memory are found", "[executor]") {
  expect_found(&toys::past_the_end, "out of bounds write");
  expect_found(&toys::raw_past_the_end, "out of bounds write");
  expect_found(&toys::read_only, "write to read-only in");
}

TEST_CASE("reads of memory that nobody wrote are found", "[executor]") {
  expect_found(&toys::uninitialised_shared, "read of uninitialised memory");
  expect_found(&toys::uninitialised_global, "read of uninitialised memory");
}

TEST_CASE("barriers and warp operations that not all lanes reach are found", "[executor]") {
  expect_found(&toys::barrier_in_branch, "exit");
  expect_found(&toys::two_barriers, "divergent barrier");
  expect_found(&toys::shuffle_in_branch, "divergent warp operation");
}

TEST_CASE("copies in flight are found", "[executor]") {
  expect_found(&toys::copy_without_wait, "race: read of a cp.async in flight");
  expect_found(&toys::copy_without_commit, "race: read of a cp.async in flight");
  expect_found(&toys::copy_never_waited_for, "cp.async that nobody waits for");
}

TEST_CASE("a launch with too little shared memory is refused", "[executor]") {
  const DeviceBuffer<float> in("in", random_values<float>(64, 1));
  const DeviceBuffer<float> out("out", 64);
  const auto report = simt::launch(&toys::reverse, {1}, {64}, 128, {}, toys::Arguments{in.data(), out.data()});
  CHECK_THAT(report.text(), Catch::Matchers::Contains("256 bytes of shared memory, the launch gives 128"));
}

TEST_CASE("wavefronts count bank conflicts", "[executor]") {
  const std::pair<int, std::uint64_t> expected[] = {{1, 1}, {2, 2}, {4, 4}, {8, 8}, {32, 32}, {33, 1}};
  for (const auto& [stride, wavefronts] : expected) {
    const auto report = simt::launch(&toys::column_access, {1}, {32}, 32 * 33 * 4, {},
                                     toys::Arguments{nullptr, nullptr, nullptr, stride});
    CHECK(report.text() == "");
    CHECK(report.counters.wavefronts == wavefronts);
    CHECK(report.counters.ideal_wavefronts == 1);
  }
}

TEST_CASE("shuffles and ballots follow their definitions", "[executor]") {
  const DeviceBuffer<std::uint32_t> words("words", 7 * 32);
  const auto report =
      simt::launch(&toys::warp_functions, {1}, {32}, 0, {}, toys::Arguments{nullptr, nullptr, words.data()});
  REQUIRE(report.text() == "");
  for (std::uint32_t lane = 0; lane < 32; ++lane) {
    const auto at = [&](std::uint32_t row) { return words.data()[32 * row + lane]; };
    CHECK(at(0) == 105);
    CHECK(at(1) == 100 + (lane ^ 3U));
    CHECK(at(2) == 100 + (lane < 2 ? lane : lane - 2));
    CHECK(at(3) == 100 + (lane > 29 ? lane : lane + 2));
    CHECK(at(4) == 100 + lane / 8 * 8 + 1);
    CHECK(at(5) == 0x49249249U);
    CHECK(at(6) == (lane < 16 ? 0x00005555U : 0x55550000U));
  }
}

// The tables below are written as the PTX manual writes them, with groupID = lane >> 2, threadID_in_group = lane % 4:
// "Matrix Fragments for mma.m16n8k16 with floating point type" and "Warp-level matrix load instruction: ldmatrix".

TEST_CASE("mma takes and gives its fragments as the PTX manual lays them out, for all lanes", "[layout]") {
  for (const int f16 : {0, 1}) {
    const auto a = random_values<float>(16 * 16, 3);
    const auto b = random_values<float>(16 * 8, 4);
    const auto bits = [&](float value) { return f16 ? ltxmem::half(value).bits : ltxmem::bfloat16(value).bits; };
    const auto rounded = [&](float value) {
      return f16 ? static_cast<float>(ltxmem::half(value)) : static_cast<float>(ltxmem::bfloat16(value));
    };
    std::vector<std::uint32_t> fragments(32 * 6);
    for (std::size_t lane = 0; lane < 32; ++lane) {
      const std::size_t group = lane >> 2;
      const std::size_t in_group = lane % 4;
      for (std::size_t i = 0; i < 8; ++i) {
        const std::size_t row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
        const std::size_t column = i < 4 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
        fragments[6 * lane + i / 2] |= static_cast<std::uint32_t>(bits(a[row * 16 + column])) << (16 * (i & 1));
      }
      for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t row = i < 2 ? in_group * 2 + (i & 1) : in_group * 2 + (i & 1) + 8;
        fragments[6 * lane + 4 + i / 2] |= static_cast<std::uint32_t>(bits(b[row * 8 + group])) << (16 * (i & 1));
      }
    }
    const DeviceBuffer<std::uint32_t> words("words", fragments, true);
    const DeviceBuffer<float> out("out", 32 * 4);
    const auto report =
        simt::launch(&toys::multiply, {1}, {32}, 0, {}, toys::Arguments{nullptr, out.data(), words.data(), f16});
    REQUIRE(report.text() == "");
    CHECK(report.counters.matrix_products == 1);
    for (std::size_t lane = 0; lane < 32; ++lane) {
      for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t row = i < 2 ? lane >> 2 : (lane >> 2) + 8;
        const std::size_t column = (lane % 4) * 2 + (i & 1);
        double expected = 0.5;
        for (std::size_t k = 0; k < 16; ++k) {
          expected += static_cast<double>(rounded(a[row * 16 + k])) * static_cast<double>(rounded(b[k * 8 + column]));
        }
        CHECK(static_cast<double>(out.data()[4 * lane + i]) == Approx(expected).margin(1e-5));
      }
    }
  }
}

TEST_CASE("ldmatrix gives each lane two elements of a row, or of a column, for all lanes", "[layout]") {
  std::vector<float> in(32 * 4);
  for (std::uint32_t i = 0; i < 128; ++i) in[i] = std::bit_cast<float>((2 * i + 1) << 16 | 2 * i);  // element e holds e
  for (const int transposed : {0, 1}) {
    const DeviceBuffer<float> rows("rows", in);
    const DeviceBuffer<std::uint32_t> words("words", 32 * 4);
    const auto report = simt::launch(&toys::matrices, {1}, {32}, 512, {},
                                     toys::Arguments{rows.data(), nullptr, words.data(), transposed});
    REQUIRE(report.text() == "");
    for (std::uint32_t lane = 0; lane < 32; ++lane) {
      for (std::uint32_t matrix = 0; matrix < 4; ++matrix) {
        const std::uint32_t first = matrix * 64;
        const std::uint32_t low =
            transposed ? first + lane % 4 * 2 * 8 + lane / 4 : first + lane / 4 * 8 + lane % 4 * 2;
        const std::uint32_t high = transposed ? low + 8 : low + 1;
        CHECK(words.data()[4 * lane + matrix] == (high << 16 | low));
      }
    }
  }
}
