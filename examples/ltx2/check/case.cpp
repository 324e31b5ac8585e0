// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "check/case.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "ltxmem/io/safetensors.hpp"

namespace ltx2 {
namespace {

using ltxmem::IoError;

template <class V>
HostTensor copy_tensor(const ltxmem::SafetensorsFile& file, const ltxmem::TensorInfo& info) {
  std::vector<V> values(info.bytes / sizeof(V));
  std::memcpy(values.data(), file.data(info), info.bytes);
  return {info.shape, std::move(values)};
}

HostTensor read_tensor(const ltxmem::SafetensorsFile& file, const ltxmem::TensorInfo& info) {
  switch (info.dtype) {
    case ltxmem::DType::f32: return copy_tensor<float>(file, info);
    case ltxmem::DType::i32: return copy_tensor<std::int32_t>(file, info);
    case ltxmem::DType::u8: return copy_tensor<std::uint8_t>(file, info);
    default: break;
  }
  throw IoError(file.path().string() + ": tensor '" + info.name + "': dtype " + std::string(dtype_name(info.dtype)) +
                ", expected F32, I32 or U8");
}

Difference difference_of(const std::string& name, const HostTensor& expected, const HostTensor& got) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (expected.shape != got.shape)
    return {infinity, name,
            "shape " + ltxmem::shape_text(got.shape) + ", expected " + ltxmem::shape_text(expected.shape)};
  if (expected.values.index() != got.values.index()) return {infinity, name, "another type than expected"};
  if (const auto* integers = std::get_if<std::vector<std::int32_t>>(&expected.values)) {
    if (*integers != std::get<std::vector<std::int32_t>>(got.values)) return {infinity, name, "integers differ"};
    return {0, name, ""};
  }
  if (const auto* bytes = std::get_if<std::vector<std::uint8_t>>(&expected.values)) {
    const auto& got_bytes = std::get<std::vector<std::uint8_t>>(got.values);
    for (std::size_t i = 0; i < bytes->size(); ++i) {
      if (std::abs(int{(*bytes)[i]} - int{got_bytes[i]}) > 1)
        return {infinity, name, "bytes differ by more than one level"};
    }
    return {0, name, ""};
  }
  double largest = 0;
  double worst = 0;
  for (std::size_t i = 0; i < expected.floats().size(); ++i) {
    const double value = got.floats()[i];
    if (!std::isfinite(value)) return {infinity, name, "NaN or infinity"};
    largest = std::max(largest, std::abs(double{expected.floats()[i]}));
    worst = std::max(worst, std::abs(value - expected.floats()[i]));
  }
  if (worst == 0) return {0, name, ""};
  return {worst / largest, name, ""};
}

}  // namespace

const HostTensor& Case::input(std::string_view tensor_name) const {
  const auto found = inputs.find(std::string(tensor_name));
  if (found == inputs.end()) throw IoError("case " + name + ": no tensor in." + std::string(tensor_name));
  return found->second;
}

Case read_case(const std::filesystem::path& path) {
  const ltxmem::SafetensorsFile file(path);
  const auto entry = file.metadata().find("case");
  if (entry == file.metadata().end()) throw IoError(path.string() + ": no metadata entry 'case': not a case file");
  Case test;
  try {
    const nlohmann::json json = nlohmann::json::parse(entry->second);
    test.stage = json.at("stage").get<std::string>();
    test.name = json.at("name").get<std::string>();
    test.model = json.value("model", "");
    test.options = json.value("options", nlohmann::json::object());
    if (const auto tolerance = json.find("tolerance"); tolerance != json.end()) {
      test.tolerance = tolerance->value("fp32", 0.0);
    }
  } catch (const nlohmann::json::exception& error) {
    throw IoError(path.string() + ": metadata entry 'case': " + error.what());
  }
  for (const ltxmem::TensorInfo& info : file.tensors()) {
    if (info.name.starts_with("in.")) {
      test.inputs.emplace(info.name.substr(3), read_tensor(file, info));
    } else if (info.name.starts_with("out.")) {
      test.expected.emplace(info.name.substr(4), read_tensor(file, info));
    } else {
      throw IoError(path.string() + ": tensor '" + info.name + "' is neither in.* nor out.*");
    }
  }
  return test;
}

std::filesystem::path CaseModels::path(const std::string& name) const {
  std::filesystem::path file = folder_ / (name + ".safetensors");
  if (std::filesystem::is_regular_file(file)) return file;
  if (std::filesystem::is_directory(folder_ / name)) return folder_ / name;
  throw IoError("model " + name + ": neither " + file.string() + " nor a folder of that name exists");
}

Checkpoint& CaseModels::open(const std::string& name) {
  return open_path(path(name));
}

Checkpoint& CaseModels::open_path(const std::filesystem::path& path) {
  std::unique_ptr<Checkpoint>& slot = opened_[path];
  if (!slot) slot = std::make_unique<Checkpoint>(path, resource_);
  return *slot;
}

Difference compare(const HostTensors& expected, const HostTensors& got) {
  Difference worst{-1, "", ""};
  for (const auto& [name, tensor] : expected) {
    const auto found = got.find(name);
    const Difference difference = found == got.end()
                                      ? Difference{std::numeric_limits<double>::infinity(), name, "not computed"}
                                      : difference_of(name, tensor, found->second);
    if (difference.relative > worst.relative) worst = difference;
  }
  worst.relative = std::max(worst.relative, 0.0);
  return worst;
}

HostTensors run_case(const Case& test, CaseModels& models, Runtime& runtime) {
  using Run = HostTensors (*)(const Case&, CaseModels&, Runtime&);
  static const std::map<std::string, Run> stages{
      {"schedule", run_schedule_case},         {"text", run_text_case},
      {"transformer", run_transformer_case},   {"real_width", run_transformer_case},
      {"lora", run_transformer_case},          {"denoise", run_denoise_case},
      {"upsample", run_upsample_case},         {"video_encode", run_video_encode_case},
      {"video_decode", run_video_decode_case}, {"audio_encode", run_audio_encode_case},
      {"audio_decode", run_audio_decode_case}, {"vocode", run_vocode_case},
      {"generate", run_generate_case},
  };
  const auto stage = stages.find(test.stage);
  if (stage == stages.end()) throw IoError("case " + test.name + ": unknown stage '" + test.stage + "'");
  return stage->second(test, models, runtime);
}

}  // namespace ltx2
