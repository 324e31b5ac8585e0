// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#if defined(LTXMEM_TEST_ONEDNN)

#include "ltxmem/backend/cpu/onednn_gemm.hpp"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

#include "backend/cpu/linear_suite.hpp"
#include "ltxmem/core/tensor.hpp"
#include "support/sanitizers.hpp"

using namespace ltxmem;
using namespace ltxmem::test;

TEMPLATE_TEST_CASE("linear on onednn: products match the reference", "", float, bfloat16, half) {
  products_match_the_reference<OneDnnGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear on onednn: every part of the epilogue matches the reference", "", float, bfloat16) {
  epilogues_match_the_reference<OneDnnGemm, TestType, TestType>();
}
TEST_CASE("linear on onednn: a wide output keeps the float sums of narrow inputs") {
  epilogues_match_the_reference<OneDnnGemm, bfloat16, float>();
}
TEMPLATE_TEST_CASE("linear on onednn: chunks and threads change no bit", "", float, bfloat16) {
  chunks_and_threads_keep_the_bits<OneDnnGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear on onednn: a row's bits depend on no other row", "", float, bfloat16) {
  rows_depend_on_themselves_alone<OneDnnGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear on onednn: an output's bits depend on no other output's weights", "", float, bfloat16) {
  outputs_depend_on_their_weights_alone<OneDnnGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear on onednn: gaps between rows change no bit and stay untouched", "", float, bfloat16) {
  strides_keep_the_bits<OneDnnGemm, TestType>();
}
TEMPLATE_TEST_CASE("linear on onednn: y may be the residual or the addend", "", float, bfloat16) {
  works_in_place<OneDnnGemm, TestType>();
}
TEST_CASE("linear on onednn: bfloat16 weights expand exactly to float") {
  other_weight_types_expand_exactly<OneDnnGemm, float, bfloat16>();
}
TEST_CASE("linear on onednn: float8 weights expand exactly to bfloat16") {
  other_weight_types_expand_exactly<OneDnnGemm, bfloat16, float8_e4m3>();
}
TEMPLATE_TEST_CASE("linear on onednn: weights at odd addresses change no bit", "", float, bfloat16) {
  misaligned_weights_keep_the_bits<OneDnnGemm, TestType>();
}
TEST_CASE("linear on onednn: two terms add up in float") {
  terms_add_up<OneDnnGemm, float>(2);
}
TEST_CASE("linear on onednn: many terms add up in float") {
  terms_add_up<OneDnnGemm, bfloat16>(11);
}
TEST_CASE("linear on onednn: terms of very different widths add up") {
  terms_of_very_different_widths_add_up<OneDnnGemm>();
}

namespace {

/// Products of random rows, made once, and parts of them to compare with.
template <class T>
class Bits {
 public:
  Bits(std::int64_t inner, std::int64_t columns)
      : inner_(inner),
        columns_(columns),
        x_(random_values<T>(row_quantum * inner, 7)),
        w_(random_values<T>(columns * inner, 8)),
        whole_(multiply(0, row_quantum, 0, columns)) {}

  /// How many elements of this part of the product have other bits than in the whole.
  std::int64_t different(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) const {
    const std::vector<float> part = multiply(row, rows, column, columns);
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const std::int64_t at = (row + i / columns) * columns_ + column + i % columns;
      count += std::memcmp(&part[static_cast<std::size_t>(i)], &whole_[static_cast<std::size_t>(at)], 4) != 0;
    }
    return count;
  }

 private:
  std::vector<float> multiply(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) const {
    HostResource host;
    Tensor<std::byte, 1> scratch(host, {static_cast<std::int64_t>(OneDnnGemm::scratch_bytes<T>())});
    std::vector<float> product(static_cast<std::size_t>(rows * columns));
    gemm_.multiply(TensorView<const T, 2>(x_.data(), {row_quantum, inner_}).rows(row, rows),
                   TensorView<const T, 2>(w_.data(), {columns_, inner_}).rows(column, columns),
                   TensorView<float, 2>(product.data(), {rows, columns}), scratch.view().data());
    return product;
  }

  OneDnnGemm gemm_;
  std::int64_t inner_;
  std::int64_t columns_;
  std::vector<T> x_;
  std::vector<T> w_;
  std::vector<float> whole_;
};

}  // namespace

TEMPLATE_TEST_CASE("onednn gemm: any number of rows and columns gives the same bits at long sums", "", float,
                   bfloat16) {
  const std::int64_t inner = GENERATE(1000, 1024, 1025, 4096, 16384);
  const Bits<TestType> bits(inner, 192);
  for (const std::int64_t rows : {1, 2, 3, 7, 16, 23, 64, 100, 126, 255}) {
    CAPTURE(inner, rows);
    CHECK(bits.different(0, rows, 0, 192) == 0);
    CHECK(bits.different(row_quantum - rows, rows, 0, 192) == 0);
    CHECK(bits.different(row_quantum - rows, rows, 64, 128) == 0);
    CHECK(bits.different(0, rows, 37, 90) == 0);
  }
}

TEST_CASE("onednn gemm: every number of rows gives the same bits", "[long]") {
  const Bits<float> wide(2048, 512);
  const Bits<bfloat16> narrow(2048, 512);
  for (std::int64_t rows = 1; rows <= row_quantum; ++rows) {
    CAPTURE(rows);
    CHECK(wide.different(row_quantum - rows, rows, 0, 512) == 0);
    CHECK(narrow.different(row_quantum - rows, rows, 0, 512) == 0);
  }
}

TEST_CASE("onednn gemm: an element type is multiplied by one implementation, and half by the portable one") {
  const OneDnnGemm gemm;
  const auto known = [](const std::string& name) { return name == "portable" || name.starts_with("brg:avx512_core"); };
  CHECK(known(gemm.implementation<float>()));
  if (AmxGemm::available()) {
    CHECK(gemm.implementation<bfloat16>() == "amx");
  } else {
    CHECK(known(gemm.implementation<bfloat16>()));
  }
  CHECK_FALSE(gemm.implementation<half>().empty());
  const char* limit = std::getenv("DNNL_MAX_CPU_ISA");  // CTest's onednn.avx2 sets it
  if (limit != nullptr && std::string_view(limit) == "AVX2") {
    CHECK(gemm.implementation<float>() == "portable");
    if (!AmxGemm::available()) CHECK(gemm.implementation<bfloat16>() == "portable");
  }
}

TEST_CASE("onednn gemm: operands with gaps are refused") {
  std::vector<float> data(100);
  std::vector<std::byte> scratch(OneDnnGemm::scratch_bytes<float>());
  const TensorView<const float, 2> dense(data.data(), {5, 4});
  const TensorView<const float, 2> gaps(data.data(), {5, 4}, {6, 1});
  const TensorView<float, 2> product(data.data() + 50, {5, 5});
  const OneDnnGemm gemm;
  CHECK_THROWS_AS(gemm.multiply(gaps, dense, product, scratch.data()), ShapeError);
  CHECK_THROWS_AS(gemm.multiply(dense, gaps, product, scratch.data()), ShapeError);
}

TEST_CASE("onednn gemm: threads that meet new shapes at the same time agree") {
  const OneDnnGemm gemm;
  const auto x = random_values<float>(40 * 64, 1);
  const auto w = random_values<float>(40 * 64, 2);
  std::vector<std::vector<float>> products(4);
  std::vector<std::thread> threads;
  for (std::vector<float>& product : products) {
    threads.emplace_back([&] {
      HostResource host;
      Tensor<std::byte, 1> scratch(host, {static_cast<std::int64_t>(OneDnnGemm::scratch_bytes<float>())});
      for (std::int64_t rows = 1; rows <= 40; ++rows) {
        product.assign(static_cast<std::size_t>(rows * 40), 0.0F);
        gemm.multiply(TensorView<const float, 2>(x.data(), {rows, 64}), TensorView<const float, 2>(w.data(), {40, 64}),
                      TensorView<float, 2>(product.data(), {rows, 40}), scratch.view().data());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<float>& product : products) CHECK(product == products.front());
}

TEST_CASE("onednn gemm: the library's refusals are ours") {
  CHECK_NOTHROW(detail::as_onednn([] {}));
  CHECK_THROWS_AS(detail::as_onednn([] { throw dnnl::error(dnnl_out_of_memory, "full"); }), OutOfMemory);
  CHECK_THROWS_WITH(detail::as_onednn([] { throw dnnl::error(dnnl_runtime_error, "broken"); }),
                    "onednn matmul: broken");
}

#ifndef LTXMEM_SANITIZED  // sanitizers need address space of their own
namespace {

constexpr std::int64_t side = 64;
constexpr std::int64_t inner = 512;

void multiply_square(const std::vector<float>& values, float* product) {
  HostResource host;
  Tensor<std::byte, 1> scratch(host, {static_cast<std::int64_t>(OneDnnGemm::scratch_bytes<float>())});
  OneDnnGemm().multiply(TensorView<const float, 2>(values.data(), {side, inner}),
                        TensorView<const float, 2>(values.data(), {side, inner}),
                        TensorView<float, 2>(product, {side, side}), scratch.view().data());
}

enum class Outcome : int { done = 10, refused, other_error };

/// The product in a process whose address space has so many bytes left, written to memory that processes share.
/// Returns its Outcome, or minus the signal that ended it.
int multiply_with_left(std::size_t bytes_left, const std::vector<float>& values, float* product) {
  const pid_t process = ::fork();
  if (process == 0) {
    Outcome outcome = Outcome::done;
    try {
      std::size_t pages = 0;
      std::ifstream("/proc/self/statm") >> pages;
      const rlim_t limit = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + bytes_left;
      const rlimit limits{limit, limit};
      if (::setrlimit(RLIMIT_AS, &limits) != 0) throw Error("no limit");
      multiply_square(values, product);
    } catch (const OutOfMemory&) {
      outcome = Outcome::refused;
    } catch (...) {
      outcome = Outcome::other_error;
    }
    ::_exit(static_cast<int>(outcome));
  }
  int status = 0;
  ::waitpid(process, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_CASE("onednn gemm: address space that ends is refused by name, before the library crashes for want of it") {
  if (OneDnnGemm().implementation<float>() == "portable") return;
  const std::vector<float> values = random_values<float>(side * inner, 1);
  const std::size_t bytes = side * side * sizeof(float);
  void* const shared = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(shared != MAP_FAILED);
  float* const product = static_cast<float*>(shared);
  // The library keeps its code for shapes that a process has multiplied: this one must not have before.
  std::vector<std::vector<float>> products;
  bool was_refused = false;
  for (std::size_t kibibytes = 0; kibibytes <= 16384; kibibytes += 256) {
    CAPTURE(kibibytes);
    const int outcome = multiply_with_left(kibibytes * 1024, values, product);
    CHECK((outcome == static_cast<int>(Outcome::done) || outcome == static_cast<int>(Outcome::refused)));
    was_refused = was_refused || outcome == static_cast<int>(Outcome::refused);
    if (outcome == static_cast<int>(Outcome::done)) products.emplace_back(product, product + side * side);
  }
  CHECK(was_refused);
  CHECK_FALSE(products.empty());
  multiply_square(values, product);
  for (const std::vector<float>& made : products) CHECK(std::equal(made.begin(), made.end(), product));
  ::munmap(shared, bytes);
}
#endif

#endif
