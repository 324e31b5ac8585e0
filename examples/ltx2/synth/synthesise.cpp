// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "synth/synthesise.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/error.hpp"
#include "ltxmem/io/safetensors_writer.hpp"
#include "media/cleanup.hpp"
#include "synth/inventory.hpp"
#include "synth/values.hpp"

namespace ltx2 {

using ltxmem::bfloat16;
using ltxmem::DType;
using ltxmem::float8_e4m3;
using ltxmem::TensorSpec;

namespace {

constexpr std::int64_t block_elements = std::int64_t{1} << 22;
constexpr std::int64_t smallest_share = std::int64_t{1} << 16;  // less is not worth a thread

/// Calls work(share, begin, end) for consecutive parts of [0, count), each in its own thread.
template <class Work>
void in_shares(int threads, std::int64_t count, const Work& work) {
  const auto shares = static_cast<int>(std::clamp<std::int64_t>(count / smallest_share, 1, threads));
  std::vector<std::jthread> others;
  for (int i = 1; i < shares; ++i) {
    others.emplace_back(
        [&work, i, begin = count * i / shares, end = count * (i + 1) / shares] { work(i, begin, end); });
  }
  work(0, 0, count / shares);
}

/// Encodes one value; scale is 1 or the divisor of fp8 weights.
void store(DType dtype, double value, std::byte* to) noexcept {
  const auto narrow = static_cast<float>(value);
  if (dtype == DType::f32) {
    std::memcpy(to, &narrow, sizeof narrow);
  } else if (dtype == DType::bf16) {
    const bfloat16 rounded(narrow);
    std::memcpy(to, &rounded, sizeof rounded);
  } else {
    *to = static_cast<std::byte>(float8_e4m3(narrow).bits);
  }
}

class Synthesis {
 public:
  Synthesis(const Description& description, const std::filesystem::path& target, const SynthesisOptions& options)
      : description_(description),
        options_(options),
        threads_(options.threads > 0 ? options.threads
                                     : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()))),
        tensors_(inventory(description)),
        writer_(target, tensors_, description.metadata),
        temporary_(writer_.temporary_path()) {
    for (const TensorSpec& tensor : tensors_) total_bytes_ += tensor.bytes();
  }

  void run() {
    float scale = 1;  // of the fp8 tensor just written
    for (const TensorSpec& tensor : tensors_) {
      if (description_.fp8 && tensor.shape.empty()) {
        write(std::as_bytes(std::span(&scale, 1)));
      } else if (const auto fixed = fixed_values(tensor.name, tensor.shape)) {
        write_values(tensor, [&](std::int64_t i) { return (*fixed)[static_cast<std::size_t>(i)]; });
      } else {
        const TensorValues values(description_, tensor.name, tensor.shape);
        const auto value = [&](std::int64_t i) { return values(static_cast<std::uint64_t>(i)); };
        if (tensor.dtype == DType::f8_e4m3) {
          scale = largest_magnitude(tensor, value) / 448.0F;
          write_values(tensor, [&](std::int64_t i) { return static_cast<float>(value(i)) / scale; });
        } else {
          write_values(tensor, value);
        }
      }
    }
    writer_.commit();
  }

 private:
  std::int64_t elements(const TensorSpec& tensor) const {
    return static_cast<std::int64_t>(tensor.bytes() / ltxmem::dtype_bytes(tensor.dtype));
  }

  void stop_if_asked() const {
    if (options_.stop.stop_requested()) throw ltxmem::Cancelled();
  }

  template <class Value>
  float largest_magnitude(const TensorSpec& tensor, const Value& value) {
    float largest = 0;
    const std::int64_t count = elements(tensor);
    for (std::int64_t first = 0; first < count; first += block_elements) {
      stop_if_asked();
      std::vector<float> partial(static_cast<std::size_t>(threads_), 0.0F);
      in_shares(threads_, std::min(block_elements, count - first),
                [&](int share, std::int64_t begin, std::int64_t end) {
                  float& mine = partial[static_cast<std::size_t>(share)];
                  for (std::int64_t i = begin; i < end; ++i)
                    mine = std::max(mine, std::abs(static_cast<float>(value(first + i))));
                });
      largest = std::max(largest, *std::max_element(partial.begin(), partial.end()));
    }
    return largest;
  }

  template <class Value>
  void write_values(const TensorSpec& tensor, const Value& value) {
    const std::size_t unit = ltxmem::dtype_bytes(tensor.dtype);
    const std::int64_t count = elements(tensor);
    for (std::int64_t first = 0; first < count; first += block_elements) {
      const std::int64_t size = std::min(block_elements, count - first);
      buffer_.resize(static_cast<std::size_t>(size) * unit);
      in_shares(threads_, size, [&](int, std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          store(tensor.dtype, static_cast<double>(value(first + i)),
                buffer_.data() + static_cast<std::size_t>(i) * unit);
        }
      });
      write(buffer_);
    }
  }

  void write(std::span<const std::byte> data) {
    stop_if_asked();
    writer_.write(data);
    written_bytes_ += data.size();
    if (options_.progress) options_.progress(written_bytes_, total_bytes_);
  }

  const Description& description_;
  const SynthesisOptions& options_;
  int threads_;
  std::vector<TensorSpec> tensors_;
  ltxmem::SafetensorsWriter writer_;
  RegisteredPath temporary_;
  std::vector<std::byte> buffer_;
  std::size_t total_bytes_ = 0;
  std::size_t written_bytes_ = 0;
};

}  // namespace

void synthesise(const Description& description, const std::filesystem::path& target, const SynthesisOptions& options) {
  Synthesis(description, target, options).run();
}

}  // namespace ltx2
