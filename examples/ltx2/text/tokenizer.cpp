// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.hpp"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "ltxmem/core/error.hpp"
#include "media/files.hpp"

namespace ltx2 {
namespace {

constexpr std::uint64_t max_model_bytes = std::uint64_t{256} << 20;

/// One code point and how many bytes it takes; no bytes when the text does not continue with a valid sequence.
struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 0;
};

/// Source    The Unicode Standard, table 3-7 (well-formed UTF-8): the second byte decides about overlong forms,
///           surrogates and values above U+10FFFF
CodePoint decode(std::string_view text) {
  const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead >= 0xf0 ? 4U : lead >= 0xe0 ? 3U : 2U;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  const unsigned char second_min = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char second_max = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < second_min || byte(1) > second_max) return {};
  char32_t value = lead & (0x7fU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return {};
    value = (value << 6) | (byte(i) & 0x3fU);
  }
  return {value, bytes};
}

/// str.isspace of Python 3: bidirectional types WS, B and S, and category Zs.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

}  // namespace

std::string_view strip(std::string_view text) {
  std::size_t begin = text.size();
  std::size_t end = 0;
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint point = decode(text.substr(i));
    if (point.bytes == 0) {
      throw ltxmem::Error("the text is not valid UTF-8 (byte " + std::to_string(i) + ")");
    }
    if (!is_space(point.value)) {
      begin = std::min(begin, i);
      end = i + point.bytes;
    }
    i += point.bytes;
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

Tokenizer::Tokenizer(const std::string& path) : processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  const std::vector<std::byte> model = read_file(path, max_model_bytes);
  const auto status = processor_->LoadFromSerializedProto({reinterpret_cast<const char*>(model.data()), model.size()});
  if (!status.ok()) throw ltxmem::IoError(path + ": not a SentencePiece model: " + status.ToString());
  struct Special {
    const char* name;
    int found;
    std::int32_t expected;
  };
  const std::array<Special, 4> specials{{{"pad", processor_->pad_id(), pad_id},
                                         {"eos", processor_->eos_id(), eos_id},
                                         {"bos", processor_->bos_id(), bos_id},
                                         {"unknown", processor_->unk_id(), unknown_id}}};
  for (const Special& special : specials) {
    if (special.found != special.expected) {
      throw ltxmem::IoError(path + ": not the tokenizer of Gemma 3: " + special.name + " id " +
                            std::to_string(special.found) + ", expected " + std::to_string(special.expected));
    }
  }
}

Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, std::int64_t max_length) const {
  ltxmem::expects(max_length >= 1, "tokenizer: max_length ", max_length, ", must be at least 1");
  const std::string_view stripped = strip(text);
  std::vector<int> pieces;
  const auto status = processor_->Encode({stripped.data(), stripped.size()}, &pieces);
  if (!status.ok()) throw ltxmem::Error("tokenizer: " + status.ToString());
  std::vector<std::int32_t> ids{bos_id};
  const std::size_t count = std::min(pieces.size(), static_cast<std::size_t>(max_length - 1));
  ids.insert(ids.end(), pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(count));
  return ids;
}

std::int32_t Tokenizer::vocabulary_size() const {
  return processor_->GetPieceSize();
}

}  // namespace ltx2
