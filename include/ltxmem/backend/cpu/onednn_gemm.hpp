// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <string_view>
#include <type_traits>

#include "ltxmem/backend/cpu/amx_gemm.hpp"
#include "ltxmem/backend/cpu/gemm.hpp"
#include "ltxmem/backend/cpu/portable_gemm.hpp"

namespace ltxmem {

namespace detail {

/// Makes oneDNN's OpenMP runtime give the calling thread teams of one while it lives. oneDNN fixes the team of a
/// primitive, and the scratch for it, when the primitive is made. The runtime is looked up by name because a program
/// may have a second one; another threading runtime has no such function and needs none.
class OneOpenMpThread {
 public:
  OneOpenMpThread() {
    if (set_threads() == nullptr || max_threads() == nullptr) return;
    before_ = max_threads()();
    set_threads()(1);
  }
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;
  ~OneOpenMpThread() {
    if (before_ > 0) set_threads()(before_);
  }

 private:
  static void (*set_threads())(int) {
    return reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  }
  static int (*max_threads())() { return reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "omp_get_max_threads")); }

  int before_ = 0;
};

/// Throw OutOfMemory unless the calling thread's heap has so many bytes, or the process may map so many. oneDNN does
/// not look at what its own requests return: in 2.6 every one that is refused ends the process. What it may need is
/// therefore asked for before, and given back.
inline void expect_heap_for_onednn(std::size_t bytes) {
  void* volatile probe = std::malloc(bytes);  // volatile: a compiler may leave out what is freed unused
  if (probe == nullptr) throw OutOfMemory("onednn matmul, heap", bytes, 0, OutOfMemory::unlimited);
  std::free(probe);
}
inline void expect_mapping_for_onednn(std::size_t bytes) {
  void* probe = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (probe == MAP_FAILED) throw OutOfMemory("onednn matmul, code", bytes, 0, OutOfMemory::unlimited);
  ::munmap(probe, bytes);
}

/// fn(), with oneDNN's refusals as ours: OutOfMemory where its memory or that for its code was refused, else Error.
template <class Fn>
void as_onednn(Fn&& fn) {
  try {
    fn();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) throw OutOfMemory("onednn matmul");
    throw Error(std::string("onednn matmul: ") + error.what());
  }
}

}  // namespace detail

/// Matrix product by oneDNN's matmul, float and bfloat16, with weights used as they lie in the file.
///
/// Only implementations named "brg" for AVX-512 keep the bits of a row whatever the number of rows and columns:
/// measured, not promised by oneDNN, and tested. "gemm:jit", which 2.6 takes on AVX2, does not; nor does "brg" on
/// matrix tiles (AMX): with other numbers of rows and columns a row has other bits, which was measured as well.
/// Processors with tiles multiply bfloat16 by AmxGemm. What has no implementation on this processor or in this version
/// (half in 2.6, bfloat16 without its instructions, everything on AVX2) is left to PortableGemm, by element type and so
/// for all shapes alike; on AVX2 float then runs at half of oneDNN's speed.
///
/// Memory    scratch: at most half a MiB for oneDNN; an implementation that asks for more is not used. Outside of it
///           oneDNN keeps compiled code, at most about 0.8 MiB per shape, and makes some small allocations per call
/// Throws    OutOfMemory when oneDNN would get no memory; it never takes another implementation instead
/// Numerics  the order of summation within a row is the library's, fixed per number of inputs
/// Threads   one object may be used from several threads at once
class OneDnnGemm {
 public:
  static constexpr bool dense_operands = true;

  OneDnnGemm() : engine_(dnnl::engine::kind::cpu, 0) {}

  template <Element T>
  static constexpr std::size_t scratch_bytes() {
    return std::max({library_scratch_bytes, AmxGemm::scratch_bytes(), PortableGemm::scratch_bytes<T>()});
  }

  template <Element T>
  void multiply(TensorView<const T, 2> x, TensorView<const T, 2> w, TensorView<float, 2> product,
                std::byte* scratch) const {
    expects(x.is_dense() && w.is_dense(), "onednn gemm: an operand has gaps between its rows");
    if (product.empty()) return;
    if constexpr (std::is_same_v<T, bfloat16>) {
      if (AmxGemm::available()) return AmxGemm::multiply(x, w, product, scratch);
    }
    const Primitive* primitive =
        native<T>() && !x.empty() ? &find({x.extent(0), w.extent(0), x.extent(1), data_type<T>}) : nullptr;
    if (primitive == nullptr || !primitive->matmul) {
      portable_.multiply(x, w, product, scratch);
      return;
    }
    const auto bind = [this](const dnnl::memory::desc& desc, const void* data) {
      return dnnl::memory(desc, engine_, const_cast<void*>(data));
    };
    detail::expect_heap_for_onednn(heap_bytes);
    detail::as_onednn([&] {
      dnnl::stream stream(engine_);
      primitive->matmul.execute(stream, {{DNNL_ARG_SRC, bind(primitive->x, x.data())},
                                         {DNNL_ARG_WEIGHTS, bind(primitive->w, w.data())},
                                         {DNNL_ARG_DST, bind(primitive->product, product.data())},
                                         {DNNL_ARG_SCRATCHPAD, bind(primitive->scratch, scratch)}});
      stream.wait();
    });
  }

  /// What multiplies T here: oneDNN's name of its implementation, "amx" or "portable".
  template <Element T>
  std::string implementation() const {
    if (std::is_same_v<T, bfloat16> && AmxGemm::available()) return "amx";
    return native<T>() ? find({row_quantum, gemm_columns, 1024, data_type<T>}).name : "portable";
  }

 private:
  using DataType = dnnl::memory::data_type;

  static constexpr std::size_t library_scratch_bytes = std::size_t{1} << 19;
  /// More than a call takes of the heap, making a primitive included, and than a primitive takes for its code.
  static constexpr std::size_t heap_bytes = std::size_t{1} << 20;
  static constexpr std::size_t code_bytes = std::size_t{1} << 23;

  template <Element T>
  static constexpr DataType data_type = std::is_same_v<T, float>      ? DataType::f32
                                        : std::is_same_v<T, bfloat16> ? DataType::bf16
                                                                      : DataType::f16;

  struct Shape {
    std::int64_t rows;
    std::int64_t columns;
    std::int64_t inner;
    DataType type;

    auto operator<=>(const Shape&) const = default;
  };

  struct Primitive {
    std::string name = "portable";
    dnnl::primitive matmul;  ///< null: not to be used
    dnnl::memory::desc x, w, product, scratch;
  };

  /// Whether products of T go to oneDNN at all.
  template <Element T>
  bool native() const {
    return bool(find({row_quantum, gemm_columns, 1024, data_type<T>}).matmul);
  }

  const Primitive& find(const Shape& shape) const {
    const std::lock_guard lock(mutex_);
    auto entry = primitives_.find(shape);
    if (entry == primitives_.end()) entry = primitives_.emplace(shape, make(shape)).first;
    return entry->second;
  }

  /// oneDNN 3 dropped the operation descriptor between the shapes and the primitive descriptor. A template, so that
  /// only the branch that exists is compiled.
  template <class Matmul>
  auto describe(const Primitive& shapes, const dnnl::primitive_attr& attributes) const {
    using Descriptor = typename Matmul::primitive_desc;
    using Desc = dnnl::memory::desc;
    if constexpr (std::is_constructible_v<Descriptor, dnnl::engine, Desc, Desc, Desc, dnnl::primitive_attr>) {
      return Descriptor(engine_, shapes.x, shapes.w, shapes.product, attributes);
    } else {
      return Descriptor(typename Matmul::desc(shapes.x, shapes.w, shapes.product), attributes, engine_);
    }
  }

  static bool keeps_bits(std::string_view implementation) {
    return implementation.starts_with("brg") && implementation.find("amx") == std::string_view::npos;
  }

  Primitive make(const Shape& shape) const {
    detail::expect_heap_for_onednn(heap_bytes);
    detail::expect_mapping_for_onednn(code_bytes);
    const detail::OneOpenMpThread one_thread;
    Primitive made;
    made.x = {{shape.rows, shape.inner}, shape.type, dnnl::memory::dims{shape.inner, 1}};
    made.w = {{shape.inner, shape.columns}, shape.type, dnnl::memory::dims{1, shape.inner}};
    made.product = {{shape.rows, shape.columns}, DataType::f32, dnnl::memory::dims{shape.columns, 1}};
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    detail::as_onednn([&] {
      try {
        auto described = describe<dnnl::matmul>(made, attributes);
        while (!keeps_bits(described.impl_info_str())) {
          if (!described.next_impl()) return;
        }
        made.scratch = described.scratchpad_desc();
        if (made.scratch.get_size() <= library_scratch_bytes) {
          made.name = described.impl_info_str();
          made.matmul = dnnl::matmul(described);
        }
      } catch (const dnnl::error& error) {
        // No implementation at all for this type on this processor. Any other error must not end here: PortableGemm
        // gives other bits.
        if (error.status != dnnl_unimplemented && error.status != dnnl_invalid_arguments) throw;
      }
    });
    return made;
  }

  dnnl::engine engine_;
  PortableGemm portable_;
  mutable std::mutex mutex_;
  mutable std::map<Shape, Primitive> primitives_;
};

static_assert(CpuGemm<OneDnnGemm, float> && CpuGemm<OneDnnGemm, bfloat16> && CpuGemm<OneDnnGemm, half>);

}  // namespace ltxmem
