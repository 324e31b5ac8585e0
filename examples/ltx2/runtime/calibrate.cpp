// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/calibrate.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "ltxmem/backend/operations.hpp"
#include "ltxmem/core/tensor.hpp"
#include "ltxmem/io/mapped_file.hpp"
#include "ltxmem/memory/arena.hpp"
#include "media/files.hpp"
#include "runtime/runtime.hpp"

namespace ltx2 {
namespace {

constexpr std::int64_t head_dim = 128;

/// Calls fn again and again; the median of the seconds of a call.
template <class Fn>
double median_seconds(const Calibration& calibration, Fn&& fn) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  const auto start = Clock::now();
  do {
    if (calibration.stop.stop_requested()) throw ltxmem::Cancelled();
    const auto begin = Clock::now();
    fn();
    seconds.push_back(std::max(1e-9, std::chrono::duration<double>(Clock::now() - begin).count()));
  } while (seconds.size() < 3 || std::chrono::duration<double>(Clock::now() - start).count() < calibration.seconds);
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2), seconds.end());
  return seconds[seconds.size() / 2];
}

/// A matrix of numbers near one: none of them slow, as denormal ones would be, and no page of them shared.
template <class T>
ltxmem::Tensor<T, 2> filled(ltxmem::ResourceRef memory, std::int64_t rows, std::int64_t columns) {
  ltxmem::Tensor<T, 2> tensor(memory, {rows, columns});
  T* data = tensor.view().data();
  for (std::int64_t i = 0; i < rows * columns; ++i) data[i] = T(static_cast<float>(i % 251 - 125) / 128.0F);
  return tensor;
}

class Machine {
 public:
  explicit Machine(const Calibration& calibration)
      : calibration_(calibration),
        width_(calibration.heads * head_dim),
        backend_({.threads = calibration.threads, .stop = calibration.stop}) {}

  /// Flops per second of a projection of the video stream.
  template <class T>
  double linear(const char* what) {
    const std::int64_t rows = calibration_.rows;
    const auto x = filled<T>(memory_, rows, width_);
    const auto weight = filled<T>(memory_, width_, width_);
    ltxmem::Tensor<T, 2> y(memory_, {rows, width_});
    const ltxmem::LinearTerm<T> term{x.view(), weight.view()};
    ltxmem::Arena arena(memory_, backend_.template linear_workspace_bytes<T>(rows, term.weight));
    const double seconds = measure(what, [&] {
      const auto scope = arena.scope();
      backend_.template linear<T>(std::span(&term, 1), ltxmem::LinearEpilogue<T>{}, y.view(), arena);
    });
    return add(what, 2.0 * static_cast<double>(rows * width_ * width_) / seconds, "flop/s");
  }

  /// Flops per second of self attention.
  template <class T>
  double attention(const char* what) {
    const std::int64_t rows = calibration_.rows;
    const auto q = filled<T>(memory_, rows, width_);
    const auto k = filled<T>(memory_, calibration_.keys, width_);
    const auto v = filled<T>(memory_, calibration_.keys, width_);
    ltxmem::Tensor<float, 2> accumulator(memory_, {rows, width_});
    ltxmem::Tensor<float, 2> maximum(memory_, {rows, calibration_.heads});
    ltxmem::Tensor<float, 2> sum(memory_, {rows, calibration_.heads});
    const ltxmem::SoftmaxStateView state{accumulator.view(), maximum.view(), sum.view()};
    ltxmem::AttentionTile<T> tile;
    tile.q = q.view();
    tile.k = k.view();
    tile.v = v.view();
    tile.heads = tile.kv_heads = calibration_.heads;
    tile.scale = 0.088F;
    ltxmem::Arena arena(memory_, backend_.attention_workspace_bytes(tile));
    const double seconds = measure(what, [&] {
      const auto scope = arena.scope();
      backend_.attention_reset(state);
      backend_.attention_append(tile, state, arena);
    });
    return add(what, 4.0 * static_cast<double>(rows * calibration_.keys * width_) / seconds, "flop/s");
  }

  /// Flops per second of element work, as a dry run counts those of a norm, on rows that a cache holds.
  double vector_work() {
    const char* what = "norm of rows in cache";
    const std::int64_t rows = std::min<std::int64_t>(calibration_.rows, 64);
    const auto x = filled<ltxmem::bfloat16>(memory_, rows, width_);
    ltxmem::Tensor<ltxmem::bfloat16, 2> y(memory_, {rows, width_});
    const double seconds =
        measure(what, [&] { backend_.norm(x.view(), ltxmem::NormArguments<ltxmem::bfloat16>{}, y.view()); });
    return add(what, 8.0 * static_cast<double>(rows * width_) / seconds, "flop/s");
  }

  double memory_copy() {
    const char* what = "memory, read and written";
    const auto from = filled<float>(memory_, copy_rows(), width_);
    auto to = filled<float>(memory_, copy_rows(), width_);
    const double seconds = measure(what, [&] { backend_.copy(from.view(), to.view()); });
    return add(what, 2.0 * static_cast<double>(from.bytes()) / seconds, "byte/s");
  }

  double transfer() {
    const char* what = "copy queue";
    const auto from = filled<float>(memory_, copy_rows(), width_);
    auto to = filled<float>(memory_, copy_rows(), width_);
    const double seconds = measure(
        what, [&] { backend_.synchronize(backend_.copy_async(ltxmem::CopyQueue::in, from.view(), to.view())); });
    return add(what, static_cast<double>(from.bytes()) / seconds, "byte/s");
  }

  /// Seconds that an operation takes at least.
  double operation_latency() {
    const char* what = "smallest operation";
    const auto x = filled<float>(memory_, 1, head_dim);
    ltxmem::Tensor<float, 2> y(memory_, {1, head_dim});
    const double seconds = measure(what, [&] {
      for (int i = 0; i < 100; ++i) backend_.norm(x.view(), ltxmem::NormArguments<float>{}, y.view());
    });
    return add(what, seconds / 100, "s");
  }
  double transfer_latency() {
    const char* what = "smallest transfer";
    const auto from = filled<float>(memory_, 1, head_dim);
    auto to = filled<float>(memory_, 1, head_dim);
    const double seconds = measure(what, [&] {
      for (int i = 0; i < 100; ++i) {
        backend_.synchronize(backend_.copy_async(ltxmem::CopyQueue::in, from.view(), to.view()));
      }
    });
    return add(what, seconds / 100, "s");
  }

  /// Bytes per second of reading a file that is not in the page cache, as streamed weights are read.
  double disk() {
    const char* what = "disk";
    began(what);
    const TemporaryOutput file(calibration_.folder + "/ltx2-calibrate");
    write(file);
    const ltxmem::MappedFile mapped(file.path());
    std::vector<std::byte> piece(std::min(piece_bytes, calibration_.file_bytes));
    const double seconds = median_seconds(calibration_, [&] {
      mapped.drop(0, calibration_.file_bytes);
      for (std::size_t at = 0; at < calibration_.file_bytes; at += piece.size()) {
        if (calibration_.stop.stop_requested()) throw ltxmem::Cancelled();
        mapped.read(at, std::span(piece).first(std::min(piece.size(), calibration_.file_bytes - at)));
      }
    });
    mapped.drop(0, calibration_.file_bytes);
    if (is_cached(mapped)) {
      result_.warnings.push_back("the system keeps what was read in memory: the disk of " + calibration_.folder +
                                 " may be slower than measured");
    }
    return add(what, static_cast<double>(calibration_.file_bytes) / seconds, "byte/s");
  }

  CalibrationResult& result() noexcept { return result_; }

 private:
  static constexpr std::size_t piece_bytes = std::size_t{8} << 20;

  std::int64_t copy_rows() const {
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(calibration_.copy_bytes / sizeof(float)) / width_);
  }

  void began(const char* what) const {
    if (calibration_.began) calibration_.began(what);
  }
  template <class Fn>
  double measure(const char* what, Fn&& fn) {
    began(what);
    fn();  // fills caches and starts workers
    return median_seconds(calibration_, fn);
  }
  double add(const char* what, double value, const char* unit) {
    result_.measurements.push_back({what, value, unit});
    return value;
  }

  void write(const TemporaryOutput& file) const {
    FileWriter writer(file.path(), file.final_path());
    const std::vector<std::byte> piece(std::min(piece_bytes, calibration_.file_bytes), std::byte{7});
    for (std::size_t at = 0; at < calibration_.file_bytes; at += piece.size()) {
      if (calibration_.stop.stop_requested()) throw ltxmem::Cancelled();
      writer.write(std::span(piece).first(std::min(piece.size(), calibration_.file_bytes - at)));
    }
    writer.close();
    // Pages not yet on the disk cannot be dropped.
    const int descriptor = ::open(file.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    ::fsync(descriptor);
    ::close(descriptor);
  }

  /// Whether half of the file or more is in the page cache.
  static bool is_cached(const ltxmem::MappedFile& file) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::span<const std::byte> bytes = file.bytes();
    std::vector<unsigned char> resident((bytes.size() + page - 1) / page);
    if (::mincore(const_cast<std::byte*>(bytes.data()), bytes.size(), resident.data()) != 0) return false;
    const auto count = std::count_if(resident.begin(), resident.end(), [](unsigned char p) { return (p & 1) != 0; });
    return 2 * static_cast<std::size_t>(count) > resident.size();
  }

  const Calibration& calibration_;
  std::int64_t width_;
  ltxmem::HostResource memory_;
  HostBackend backend_;
  CalibrationResult result_;
};

}  // namespace

CalibrationResult calibrate(const Calibration& calibration) {
  Machine machine(calibration);
  ltxmem::DeviceProfile profile = *ltxmem::find_device_profile("cpu");
  profile.source = "measured by ltx2 calibrate on " + std::to_string(calibration.threads) +
                   " threads; f16 and f8 as bf16; network assumed";
  profile.memory_bytes = static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  profile.bf16_flops_per_s = machine.linear<ltxmem::bfloat16>("linear layer, bf16");
  profile.bf16_attention_flops_per_s = machine.attention<ltxmem::bfloat16>("attention, bf16");
  profile.f32_flops_per_s = machine.linear<float>("linear layer, f32");
  profile.f32_attention_flops_per_s = machine.attention<float>("attention, f32");
  profile.f16_flops_per_s = profile.f8_flops_per_s = profile.bf16_flops_per_s;
  profile.f16_attention_flops_per_s = profile.bf16_attention_flops_per_s;
  profile.vector_flops_per_s = machine.vector_work();
  profile.memory_bytes_per_s = machine.memory_copy();
  profile.link_in_bytes_per_s = profile.link_out_bytes_per_s = machine.transfer();
  profile.operation_latency_s = std::min(1.0, machine.operation_latency());
  profile.transfer_latency_s = std::min(1.0, machine.transfer_latency());
  profile.disk_bytes_per_s = machine.disk();
  profile.matrix_fraction = profile.memory_fraction = profile.link_fraction = 1;
  machine.result().profile = std::move(profile);
  return std::move(machine.result());
}

}  // namespace ltx2
