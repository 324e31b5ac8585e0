// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/io/json.hpp"

#include <string>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using Catch::Matchers::Contains;
using ltxmem::append_json_string;
using ltxmem::IoError;
using ltxmem::JsonValue;
using ltxmem::parse_json;

namespace {

std::string refusal(const std::string& text) {
  return ltxmem::test::error_message<IoError>([&] { parse_json(text, "source"); });
}

std::string parsed_string(const std::string& text) {
  return *parse_json(text, "source").get_if<std::string>();
}

std::string written(const std::string& text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

}  // namespace

TEST_CASE("JSON numbers keep integers apart from fractions", "[json]") {
  CHECK(*parse_json("9223372036854775807", "s").get_if<std::int64_t>() == INT64_MAX);
  CHECK(*parse_json("-9223372036854775808", "s").get_if<std::int64_t>() == INT64_MIN);
  CHECK(*parse_json("1.0", "s").get_if<double>() == 1.0);
  CHECK(*parse_json("-25e-2", "s").get_if<double>() == -0.25);
}

TEST_CASE("JSON objects keep the order of their keys", "[json]") {
  const JsonValue value = parse_json(R"( {"b": [1, true, null], "a": {}} )", "s");
  const auto& object = *value.get_if<JsonValue::Object>();
  REQUIRE(object.size() == 2);
  CHECK(object[0].first == "b");
  CHECK(object[0].second.get_if<JsonValue::Array>()->size() == 3);
  CHECK(object[1].first == "a");
}

TEST_CASE("JSON escapes become UTF-8", "[json]") {
  CHECK(parsed_string(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
  CHECK(parsed_string(R"("\u0041\u00e9\u20AC\ud83d\ude00")") == "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST_CASE("JSON that is cut short is refused at every length", "[json]") {
  const std::string whole = R"({"key": ["text\u0041", -1.5e3, {"a": false}], "b": null})";
  CHECK_NOTHROW(parse_json(whole, "s"));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    INFO(length);
    CHECK_THROWS_AS(parse_json(whole.substr(0, length), "s"), IoError);
  }
}

TEST_CASE("JSON refusals name source, byte and reason", "[json]") {
  CHECK(refusal("{} x") == "source: JSON byte 3: something follows the value");
  CHECK_THAT(refusal(R"({"a": 1, "b": 2, "a": 3})"), Contains("duplicate key 'a'"));
  CHECK_THAT(refusal(std::string(40, '[') + std::string(40, ']')), Contains("nested too deeply"));
  CHECK_THAT(refusal("92233720368547758080"), Contains("out of range"));
  CHECK_THAT(refusal("1e999"), Contains("out of range"));
  CHECK_THAT(refusal("01"), Contains("leading zero"));
  CHECK_THAT(refusal("1."), Contains("digit"));
  CHECK_THAT(refusal("1e+"), Contains("exponent"));
  CHECK_THAT(refusal("-"), Contains("expected a value"));
  CHECK_THAT(refusal("nul"), Contains("expected a value"));
  CHECK_THAT(refusal("{a: 1}"), Contains("double quotes"));
  CHECK_THAT(refusal("[1 2]"), Contains("','"));
  CHECK_THAT(refusal(R"({"a" 1})"), Contains("':'"));
}

TEST_CASE("JSON strings must be valid UTF-8 with whole surrogate pairs", "[json]") {
  CHECK_THAT(refusal("\"\xff\""), Contains("UTF-8"));
  CHECK_THAT(refusal("\"\xc0\x80\""), Contains("UTF-8"));          // overlong
  CHECK_THAT(refusal("\"\xe0\x80\x80\""), Contains("UTF-8"));      // overlong
  CHECK_THAT(refusal("\"\xed\xa0\x80\""), Contains("UTF-8"));      // a surrogate
  CHECK_THAT(refusal("\"\xf4\x90\x80\x80\""), Contains("UTF-8"));  // beyond the last code point
  CHECK_THAT(refusal("\"\xe2\x82\""), Contains("UTF-8"));          // cut short
  CHECK_THAT(refusal("\"a\nb\""), Contains("control character"));
  CHECK_THAT(refusal(R"("\ud83d")"), Contains("surrogate"));
  CHECK_THAT(refusal(R"("\ud83d\u0041")"), Contains("surrogate"));
  CHECK_THAT(refusal(R"("\ude00")"), Contains("surrogate"));
  CHECK_THAT(refusal(R"("\u12g4")"), Contains("\\u escape"));
  CHECK_THAT(refusal(R"("\x")"), Contains("invalid escape"));
}

TEST_CASE("JSON strings are written in ASCII as Python writes them", "[json]") {
  CHECK(written("plain/text") == "\"plain/text\"");
  CHECK(written("\"\\\b\f\n\r\t") == R"("\"\\\b\f\n\r\t")");
  CHECK(written(std::string("\x01\x7f")) == "\"\\u0001\\u007f\"");
  CHECK(written("\xc3\xa9\xf0\x9f\x98\x80") == "\"\\u00e9\\ud83d\\ude00\"");
  CHECK_THROWS_AS(written("\xff"), IoError);
}

TEST_CASE("JSON strings come back as they were written", "[json]") {
  for (const std::string text : {"", "a\tb", "\xe2\x82\xac", "\xf0\x9f\x98\x80\x7f", "\\u0041"}) {
    CHECK(parsed_string(written(text)) == text);
  }
}
