// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace ltx2 {

/// The text without white space at both ends; white space is what Python's str.strip removes.
///
/// Throws    ltxmem::Error when the text is not valid UTF-8, naming the offset of the first bad byte
std::string_view strip(std::string_view text);

/// The Gemma 3 tokenizer: SentencePiece pieces behind one leading bos, nothing else (no template, no eos, no padding).
///
/// Source    text.md section 1
class Tokenizer {
 public:
  static constexpr std::int32_t pad_id = 0;
  static constexpr std::int32_t eos_id = 1;
  static constexpr std::int32_t bos_id = 2;
  static constexpr std::int32_t unknown_id = 3;

  /// Reads a `tokenizer.model` file.
  ///
  /// Throws    IoError naming the file: missing, not a SentencePiece model, special ids other than Gemma's
  explicit Tokenizer(const std::string& path);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of the stripped text, bos first, cut to max_length (at least 1) ids.
  ///
  /// Throws    ltxmem::Error when the text is not valid UTF-8; ShapeError when max_length < 1
  std::vector<std::int32_t> encode(std::string_view text, std::int64_t max_length) const;

  std::int32_t vocabulary_size() const;

 private:
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
};

}  // namespace ltx2
