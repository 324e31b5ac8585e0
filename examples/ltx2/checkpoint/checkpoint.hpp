// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/linear_weights.hpp"
#include "checkpoint/lora_file.hpp"
#include "checkpoint/tensor_source.hpp"
#include "checkpoint/weight_places.hpp"
#include "config/model_config.hpp"
#include "ltxmem/core/dtype.hpp"
#include "ltxmem/core/resource.hpp"
#include "ltxmem/core/weight_view.hpp"
#include "ltxmem/parallel/partition.hpp"

namespace ltx2 {

struct Description;
class WeightScope;

/// A model file: its configuration and its weights, used in place.
///
/// A checkpoint is one safetensors file with the metadata entry `config`; the latent upsampler likewise; Gemma is a
/// folder with config.json and one or more *.safetensors files, or one such file alone (then the 12B configuration is
/// assumed unless a config.json lies beside it). Built from a Description instead, it offers the same names and shapes
/// with data pointers that must never be dereferenced, for dry runs.
///
/// Memory   address space; copies of misaligned tensors from the resource, made once by the constructor
/// Throws   IoError: a damaged file, a configuration that is missing or not supported (LTX-2.5 by name); a tensor of
/// the
///          parts that the file has, or one asked for, that is missing or has another shape or type, naming file,
///          tensor, found and expected
///
/// Neither copied nor moved: scopes and model code point into it. Reading is safe from several threads.
class Checkpoint {
 public:
  Checkpoint(const std::filesystem::path& path, ltxmem::ResourceRef resource);

  /// Without weights: the names and shapes that follow from a description, in its dtype (fp8 where it says so).
  explicit Checkpoint(const Description& description);

  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  const ModelConfig& config() const noexcept { return config_; }
  const TensorSource& tensors() const noexcept { return tensors_; }

  bool has(std::string_view name) const { return tensors_.find(name) != nullptr; }

  /// A tensor of exactly this two-dimensional shape, with the scale found beside fp8 weights (`<name>_scale`).
  ltxmem::WeightMatrix matrix(std::string_view name, std::int64_t rows, std::int64_t columns) const;

  /// A tensor of exactly this one-dimensional shape.
  ltxmem::WeightVector vector(std::string_view name, std::int64_t size) const;

  /// A tensor of exactly this shape, any rank, as a matrix [first extent, product of the others].
  ltxmem::WeightMatrix tensor(std::string_view name, const std::vector<std::int64_t>& shape) const;

  struct ActiveLora {
    std::shared_ptr<const LoraFile> file;
    float strength;
  };
  using Loras = std::vector<ActiveLora>;

  /// `<module>.weight` [outputs, inputs], `<module>.bias` [outputs] if there is one, and the LoRAs of the module.
  LinearWeights linear(std::string_view module, std::int64_t outputs, std::int64_t inputs) const {
    return linear(module, outputs, inputs, *loras_);
  }
  LinearWeights linear(std::string_view module, std::int64_t outputs, std::int64_t inputs, const Loras& loras) const;

  /// `<module>.weight` [outputs, inputs, kernel...] and `<module>.bias` [outputs] if there is one.
  LinearWeights convolution(std::string_view module, std::int64_t outputs, std::int64_t inputs,
                            const std::vector<std::int64_t>& kernel) const;

  /// Accessor for the names below a prefix, which ends with a dot: prefixed("model.diffusion_model.").
  WeightScope prefixed(std::string prefix) const;

  /// Where the decoder layers of Gemma begin; one of three prefixes in use ("language_model.model." and others).
  WeightScope gemma() const;

  /// The LoRAs in use now; later changes leave the list alone.
  const std::shared_ptr<const Loras>& loras() const noexcept { return loras_; }

  /// Adds strength times this LoRA to every linear() and scope taken from now on. IoError when a module that it targets
  /// is missing here or has another shape.
  void add_lora(std::shared_ptr<const LoraFile> lora, float strength);

  /// A tensor and the file it is in.
  struct SourcedTensor {
    const TensorSource* source;
    const StoredTensor* tensor;
  };

  /// All tensors whose names start with a prefix, in the order of the files, then the LoRAs of the modules there;
  /// without those whose names go on with one of the exceptions.
  std::vector<SourcedTensor> tensors_below(std::string_view prefix, const std::vector<std::string>& exceptions) const;

  /// Forgets all LoRAs; LinearWeights and scopes taken before keep theirs.
  void clear_loras() noexcept { loras_ = no_loras(); }

 private:
  static const std::shared_ptr<const Loras>& no_loras() {
    static const auto none = std::make_shared<const Loras>();
    return none;
  }

  [[noreturn]] void fail(std::string_view tensor, std::string_view reason) const;
  const StoredTensor& checked(std::string_view name, const std::vector<std::int64_t>& shape) const;

  TensorSource tensors_;
  ModelConfig config_;
  std::shared_ptr<const Loras> loras_ = no_loras();
};

/// The part of a checkpoint whose names start with a prefix, where it lies in the file or in a copy. Borrows the
/// checkpoint, and the places in the copy; cheap to copy.
class WeightScope {
 public:
  WeightScope(const Checkpoint& checkpoint, std::string prefix)
      : checkpoint_(&checkpoint), loras_(checkpoint.loras()), prefix_(std::move(prefix)) {}

  const std::string& prefix() const noexcept { return prefix_; }
  const Checkpoint& checkpoint() const noexcept { return *checkpoint_; }

  bool has(std::string_view name) const { return checkpoint_->has(full(name)); }
  ltxmem::WeightMatrix matrix(std::string_view name, std::int64_t rows, std::int64_t columns) const {
    return moved(checkpoint_->matrix(full(name), rows, columns));
  }
  ltxmem::WeightVector vector(std::string_view name, std::int64_t size) const {
    return moved(checkpoint_->vector(full(name), size));
  }
  ltxmem::WeightMatrix tensor(std::string_view name, const std::vector<std::int64_t>& shape) const {
    return moved(checkpoint_->tensor(full(name), shape));
  }
  LinearWeights linear(std::string_view module, std::int64_t outputs, std::int64_t inputs) const {
    return moved(checkpoint_->linear(full(module), outputs, inputs, *loras_));
  }
  /// Parts of a vector and of a layer, of which the copy need not hold the rest.
  ltxmem::WeightVector vector_part(std::string_view name, std::int64_t size, const ltxmem::Segment& part) const {
    return moved(checkpoint_->vector(full(name), size).slice(part.begin, part.count));
  }
  LinearWeights linear_outputs(std::string_view module, std::int64_t outputs, std::int64_t inputs,
                               const ltxmem::Segment& part) const {
    return moved(checkpoint_->linear(full(module), outputs, inputs, *loras_).outputs(part));
  }
  LinearWeights linear_inputs(std::string_view module, std::int64_t outputs, std::int64_t inputs,
                              const ltxmem::Segment& part) const {
    return moved(checkpoint_->linear(full(module), outputs, inputs, *loras_).inputs(part));
  }
  LinearWeights convolution(std::string_view module, std::int64_t outputs, std::int64_t inputs,
                            const std::vector<std::int64_t>& kernel) const {
    return moved(checkpoint_->convolution(full(module), outputs, inputs, kernel));
  }

  /// A scope inside this one; the name without the dot at its end.
  WeightScope scope(std::string_view name) const {
    WeightScope inner = *this;
    inner.prefix_ = full(name) + ".";
    return inner;
  }

  /// The same tensors in a copy at this address.
  WeightScope moved(const WeightPlaces& places, const std::byte* address) const {
    WeightScope copy = *this;
    copy.places_ = &places;
    copy.address_ = address;
    return copy;
  }

 private:
  std::string full(std::string_view name) const { return prefix_ + std::string(name); }

  /// What is empty lies nowhere: its address stays that of the file, and is not read.
  ltxmem::WeightMatrix moved(ltxmem::WeightMatrix matrix) const {
    if (places_ == nullptr || matrix.empty()) return matrix;
    const WeightPlaces::Found place = places_->find(matrix.data);
    matrix.data = address_ + place.offset;
    if (place.row_stride > 0) matrix.row_stride = place.row_stride;
    if (matrix.scale != nullptr) {
      const auto scale = places_->find(reinterpret_cast<const std::byte*>(matrix.scale));
      matrix.scale = reinterpret_cast<const float*>(address_ + scale.offset);
    }
    return matrix;
  }
  ltxmem::WeightVector moved(ltxmem::WeightVector vector) const {
    if (places_ != nullptr && !vector.empty()) vector.data = address_ + places_->find(vector.data).offset;
    return vector;
  }
  LinearWeights moved(LinearWeights layer) const {
    layer.weight = moved(layer.weight);
    layer.bias = moved(layer.bias);
    for (LoraTerm& lora : layer.loras) {
      lora.a = moved(lora.a);
      lora.b = moved(lora.b);
    }
    return layer;
  }

  const Checkpoint* checkpoint_;
  std::shared_ptr<const Checkpoint::Loras> loras_;  // those of the time when the scope was made
  std::string prefix_;
  const WeightPlaces* places_ = nullptr;  // null: in the file
  const std::byte* address_ = nullptr;
};

}  // namespace ltx2
