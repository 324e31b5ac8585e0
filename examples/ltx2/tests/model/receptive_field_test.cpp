// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "model/receptive_field.hpp"

#include <algorithm>
#include <cstdint>

#include "support/catch.hpp"

/// Receptive fields against the inputs that every output names, one by one.

namespace {

using namespace ltx2;
using ltxmem::ceil_div;

constexpr std::int64_t begin = 1000;  // of the piece, in steps of the coarser side
constexpr std::int64_t end = 1007;

/// The first and last input read, as a field around a piece of inputs.
class Reads {
 public:
  Reads(std::int64_t inputs_begin, std::int64_t inputs_end) : begin_(inputs_begin), end_(inputs_end) {}
  void note(std::int64_t input) {
    field_.before = std::max(field_.before, begin_ - input);
    field_.after = std::max(field_.after, input - end_ + 1);
  }
  const ReceptiveField& field() const { return field_; }

 private:
  std::int64_t begin_;
  std::int64_t end_;
  ReceptiveField field_;
};

void check(const ReceptiveField& computed, const ReceptiveField& read) {
  CHECK(computed.before == read.before);
  CHECK(computed.after == read.after);
}

}  // namespace

TEST_CASE("The receptive field of a convolution is what its outputs read") {
  for (const std::int64_t kernel : {1, 3, 7, 512}) {
    for (const std::int64_t dilation : {1, 3}) {
      for (const std::int64_t stride : {1, 2, 80}) {
        if (stride > kernel) continue;
        for (const std::int64_t padding : {std::int64_t{0}, dilation * (kernel - 1) / 2, dilation * (kernel - 1)}) {
          for (const ReceptiveField outputs : {ReceptiveField{0, 0}, ReceptiveField{5, 2}}) {
            const ltxmem::ConvolutionGeometry geometry{.kernel = {1, kernel, 1},
                                                       .stride = {1, stride, 1},
                                                       .dilation = {1, dilation, 1},
                                                       .pad_before = {0, padding, 0}};
            Reads reads(begin * stride, end * stride);
            for (std::int64_t output = begin - outputs.before; output < end + outputs.after; ++output) {
              for (std::int64_t tap = 0; tap < kernel; ++tap) reads.note(output * stride - padding + tap * dilation);
            }
            INFO("kernel " << kernel << " dilation " << dilation << " stride " << stride << " padding " << padding);
            check(outputs.through(geometry, 1), reads.field());
          }
        }
      }
    }
  }
}

TEST_CASE("The receptive field of a transposed convolution is what its outputs read") {
  for (const std::int64_t stride : {1, 2, 5, 6}) {
    for (std::int64_t kernel = stride; kernel < 17; ++kernel) {
      const std::int64_t padding = (kernel - stride) / 2;
      for (const ReceptiveField outputs : {ReceptiveField{0, 0}, ReceptiveField{1, 3}, ReceptiveField{97, 100}}) {
        Reads reads(begin, end);
        for (std::int64_t output = begin * stride - outputs.before; output < end * stride + outputs.after; ++output) {
          for (std::int64_t tap = 0; tap < kernel; ++tap) {
            if ((output + padding - tap) % stride == 0) reads.note((output + padding - tap) / stride);
          }
        }
        INFO("kernel " << kernel << " stride " << stride);
        check(outputs.through({.kernel = kernel, .stride = stride, .padding = padding}), reads.field());
      }
    }
  }
}

TEST_CASE("A filter widens a receptive field, and of two ways the wider one counts on either side") {
  check(ReceptiveField{1, 4}.through_filter(5), {6, 9});
  check(either({1, 4}, {3, 2}), {3, 4});
}
