// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "ltxmem/core/error.hpp"

/// The little JSON that file headers need: a strict reader and the writing of strings.
///
/// Refused beyond the grammar of RFC 8259: duplicate keys, nesting deeper than 32, strings that are not valid UTF-8 or
/// hold half a surrogate pair, numbers outside 64-bit integers and finite doubles.

namespace ltxmem {

/// One JSON value. Objects keep the order of their keys.
struct JsonValue {
  using Array = std::vector<JsonValue>;
  using Object = std::vector<std::pair<std::string, JsonValue>>;

  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> value = nullptr;

  template <class T>
  const T* get_if() const noexcept {
    return std::get_if<T>(&value);
  }
};

namespace detail {

/// Length of the UTF-8 sequence that text starts with, its code point in code_point; 0 when it is not valid.
inline std::size_t utf8_decode(std::string_view text, std::uint32_t& code_point) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  if (text.empty()) return 0;
  const std::uint32_t lead = byte(0);
  const std::size_t length = lead < 0x80   ? 1
                             : lead < 0xc2 ? 0
                             : lead < 0xe0 ? 2
                             : lead < 0xf0 ? 3
                             : lead < 0xf5 ? 4
                                           : 0;
  if (length == 0 || text.size() < length) return 0;
  code_point = length == 1 ? lead : lead & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return 0;
    code_point = (code_point << 6) | (byte(i) & 0x3fU);
  }
  const bool overlong = (length == 3 && code_point < 0x800) || (length == 4 && code_point < 0x10000);
  const bool surrogate = code_point >= 0xd800 && code_point < 0xe000;
  return overlong || surrogate || code_point > 0x10ffff ? 0 : length;
}

inline void utf8_append(std::string& out, std::uint32_t code_point) {
  const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    put(0xe0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3f));
    put(0x80 | (code_point & 0x3f));
  } else {
    put(0xf0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3f));
    put(0x80 | ((code_point >> 6) & 0x3f));
    put(0x80 | (code_point & 0x3f));
  }
}

class JsonParser {
 public:
  JsonParser(std::string_view text, std::string_view source) : text_(text), source_(source) {}

  JsonValue parse() {
    JsonValue value = parse_value(0);
    skip_space();
    if (at_ != text_.size()) fail("something follows the value");
    return value;
  }

 private:
  static constexpr int max_depth = 32;

  [[noreturn]] void fail(std::string_view reason) const {
    throw IoError(std::string(source_) + ": JSON byte " + std::to_string(at_) + ": " + std::string(reason));
  }

  /// The next character, or 0 (which is never valid) at the end.
  char peek() const noexcept { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() noexcept {
    while (at_ < text_.size() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
  }

  void expect(char character, std::string_view reason) {
    skip_space();
    if (peek() != character) fail(reason);
    ++at_;
  }

  bool accept(char character) {
    skip_space();
    if (peek() != character) return false;
    ++at_;
    return true;
  }

  JsonValue parse_value(int depth) {
    if (depth > max_depth) fail("nested too deeply");
    skip_space();
    switch (peek()) {
      case '{': return {parse_object(depth)};
      case '[': return {parse_array(depth)};
      case '"': return {parse_string()};
      case 't': return parse_word("true", true);
      case 'f': return parse_word("false", false);
      case 'n': return parse_word("null", nullptr);
      default: return parse_number();
    }
  }

  template <class T>
  JsonValue parse_word(std::string_view word, T value) {
    if (text_.substr(at_, word.size()) != word) fail("expected a value");
    at_ += word.size();
    return {value};
  }

  JsonValue::Object parse_object(int depth) {
    JsonValue::Object object;
    ++at_;
    if (accept('}')) return object;
    do {
      skip_space();
      if (peek() != '"') fail("expected a key in double quotes");
      std::string key = parse_string();
      expect(':', "expected ':'");
      JsonValue value = parse_value(depth + 1);
      object.emplace_back(std::move(key), std::move(value));
    } while (accept(','));
    expect('}', "expected ',' or '}'");
    refuse_duplicates(object);
    return object;
  }

  void refuse_duplicates(const JsonValue::Object& object) const {
    std::vector<std::string_view> keys;
    keys.reserve(object.size());
    for (const auto& [key, value] : object) keys.emplace_back(key);
    std::sort(keys.begin(), keys.end());
    const auto twin = std::adjacent_find(keys.begin(), keys.end());
    if (twin != keys.end()) fail("duplicate key '" + std::string(*twin) + "'");
  }

  JsonValue::Array parse_array(int depth) {
    JsonValue::Array array;
    ++at_;
    if (accept(']')) return array;
    do {
      array.push_back(parse_value(depth + 1));
    } while (accept(','));
    expect(']', "expected ',' or ']'");
    return array;
  }

  std::string parse_string() {
    std::string out;
    for (++at_; peek() != '"';) {
      if (at_ >= text_.size()) fail("unterminated string");
      if (peek() == '\\') {
        parse_escape(out);
        continue;
      }
      std::uint32_t code_point = 0;
      const std::size_t length = utf8_decode(text_.substr(at_), code_point);
      if (length == 0) fail("invalid UTF-8");
      if (code_point < 0x20) fail("control character in a string");
      out.append(text_.substr(at_, length));
      at_ += length;
    }
    ++at_;
    return out;
  }

  void parse_escape(std::string& out) {
    ++at_;
    const char kind = peek();
    static constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const std::size_t index = names.find(kind);
    if (kind == 'u') {
      ++at_;
      std::uint32_t code_point = parse_hex4();
      if (code_point >= 0xd800 && code_point < 0xdc00) {
        if (text_.substr(at_, 2) != "\\u") fail("half a surrogate pair");
        at_ += 2;
        const std::uint32_t low = parse_hex4();
        if (low < 0xdc00 || low >= 0xe000) fail("half a surrogate pair");
        code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
      } else if (code_point >= 0xdc00 && code_point < 0xe000) {
        fail("half a surrogate pair");
      }
      utf8_append(out, code_point);
    } else if (at_ < text_.size() && index != std::string_view::npos) {
      out.push_back(meanings[index]);
      ++at_;
    } else {
      fail("invalid escape");
    }
  }

  std::uint32_t parse_hex4() {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4) fail("invalid \\u escape");
    at_ += 4;
    return code;
  }

  JsonValue parse_number() {
    const std::size_t begin = at_;
    const auto digits = [&] {
      const std::size_t first = at_;
      while (peek() >= '0' && peek() <= '9') ++at_;
      return at_ - first;
    };
    if (peek() == '-') ++at_;
    const bool zero = peek() == '0';
    const std::size_t whole = digits();
    if (whole == 0) fail("expected a value");
    if (zero && whole > 1) fail("number with a leading zero");
    bool integral = true;
    if (peek() == '.') {
      integral = false;
      ++at_;
      if (digits() == 0) fail("expected a digit after '.'");
    }
    if (peek() == 'e' || peek() == 'E') {
      integral = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (digits() == 0) fail("expected a digit in the exponent");
    }
    const char* first = text_.data() + begin;
    const char* last = text_.data() + at_;
    return integral ? convert<std::int64_t>(first, last) : convert<double>(first, last);
  }

  template <class T>
  JsonValue convert(const char* first, const char* last) const {
    T number{};
    if (std::from_chars(first, last, number).ec != std::errc()) {
      fail("number " + std::string(first, last) + " is out of range");
    }
    return {number};
  }

  std::string_view text_;
  std::string_view source_;
  std::size_t at_ = 0;
};

}  // namespace detail

/// Parses a text that is exactly one JSON value. IoError: "<source>: JSON byte <offset>: <reason>".
inline JsonValue parse_json(std::string_view text, std::string_view source) {
  return detail::JsonParser(text, source).parse();
}

/// Appends text (UTF-8; IoError when it is not) as a JSON string in ASCII, with the escapes that Python's json.dumps
/// chooses, so that headers equal those of Python writers byte for byte.
inline void append_json_string(std::string& out, std::string_view text) {
  static constexpr std::string_view hex = "0123456789abcdef";
  const auto escape = [&](std::uint32_t unit) {
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out.push_back(hex[(unit >> shift) & 0xfU]);
  };
  out.push_back('"');
  while (!text.empty()) {
    std::uint32_t code_point = 0;
    const std::size_t length = detail::utf8_decode(text, code_point);
    expects<IoError>(length > 0, "JSON string: invalid UTF-8");
    switch (code_point) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (code_point >= 0x20 && code_point < 0x7f) {
          out.push_back(static_cast<char>(code_point));
        } else if (code_point < 0x10000) {
          escape(code_point);
        } else {
          escape(0xd800 + ((code_point - 0x10000) >> 10));
          escape(0xdc00 + ((code_point - 0x10000) & 0x3ffU));
        }
    }
    text.remove_prefix(length);
  }
  out.push_back('"');
}

}  // namespace ltxmem
