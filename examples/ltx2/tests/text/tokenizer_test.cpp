// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "text/tokenizer.hpp"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/scratch.hpp"

namespace {

using ltx2::strip;
using ltx2::Tokenizer;
using ltx2::test::message_of;

using Ids = std::vector<std::int32_t>;

const std::string& model_path() {
  static const std::string path = ltx2::test::golden_path("models/gemma_tiny/tokenizer.model");
  return path;
}

TEST_CASE("prompts become exactly the ids of the reference") {
  const ltxmem::SafetensorsFile file(ltx2::test::golden_path("cases/text/tokenize_128.safetensors"));
  const auto options = nlohmann::json::parse(file.metadata().at("case")).at("options");
  const Tokenizer tokenizer(model_path());
  const auto& prompts = options.at("prompts");
  REQUIRE(prompts.size() == 9);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    CAPTURE(i);
    const Ids expected = ltx2::test::tensor_values<std::int32_t>(file, "out.ids." + std::to_string(i));
    CHECK(tokenizer.encode(prompts[i].get<std::string>(), options.at("max_length").get<std::int64_t>()) == expected);
  }
}

TEST_CASE("an empty prompt is one bos") {
  const Tokenizer tokenizer(model_path());
  CHECK(tokenizer.encode("", 128) == Ids{Tokenizer::bos_id});
  CHECK(tokenizer.encode(" \t\n ", 128) == Ids{Tokenizer::bos_id});
}

TEST_CASE("white space around a prompt does not change its ids") {
  const Tokenizer tokenizer(model_path());
  CHECK(tokenizer.encode(" \n\xe3\x80\x80 a cat\xc2\xa0\t", 128) == tokenizer.encode("a cat", 128));
}

TEST_CASE("white space inside a prompt does") {
  const Tokenizer tokenizer(model_path());
  CHECK(tokenizer.encode("a  cat", 128) != tokenizer.encode("a cat", 128));
}

TEST_CASE("the length limit counts bos and cuts the end") {
  const Tokenizer tokenizer(model_path());
  const Ids whole = tokenizer.encode("the camera slowly pans", 128);
  REQUIRE(whole.size() > 5);
  CHECK(tokenizer.encode("the camera slowly pans", 5) == Ids(whole.begin(), whole.begin() + 5));
  CHECK(tokenizer.encode("the camera slowly pans", 1) == Ids{Tokenizer::bos_id});
  CHECK(tokenizer.encode("the camera slowly pans", static_cast<std::int64_t>(whole.size())) == whole);
  CHECK_THROWS_AS(tokenizer.encode("x", 0), ltxmem::ShapeError);
}

TEST_CASE("every id is inside the vocabulary") {
  const Tokenizer tokenizer(model_path());
  for (const std::int32_t id : tokenizer.encode("Größe 日本語 🦊 \x01 tabs\tand\nlines", 1024)) {
    CHECK((id >= 0 && id < tokenizer.vocabulary_size()));
  }
}

TEST_CASE("a prompt that is not UTF-8 is refused with the place") {
  const Tokenizer tokenizer(model_path());
  CHECK(message_of<ltxmem::Error>([&] { tokenizer.encode("abc\xff", 128); }) == "the text is not valid UTF-8 (byte 3)");
}

TEST_CASE("stripping removes all of Python's white space and nothing else") {
  // ASCII, the separators 0x1c..0x1f, NEL, NBSP, ogham, en quad .. hair space, line and paragraph separator, narrow
  // NBSP, mathematical and ideographic space.
  const std::string spaces =
      "\t\n\v\f\r "
      "\x1c\x1d\x1e\x1f\xc2\x85\xc2\xa0\xe1\x9a\x80\xe2\x80\x80\xe2\x80\x81\xe2\x80\x8a\xe2\x80\xa8\xe2\x80\xa9"
      "\xe2\x80\xaf\xe2\x81\x9f\xe3\x80\x80";
  CHECK(strip(spaces + "a b" + spaces) == "a b");
  CHECK(strip(spaces).empty());
  CHECK(strip("").empty());
  // Zero-width space, word joiner and the byte order mark are no white space.
  for (const std::string kept : {"\xe2\x80\x8b", "\xe2\x81\xa0", "\xef\xbb\xbf", "\x1b", "\x7f"}) {
    CHECK(strip(kept) == kept);
  }
}

TEST_CASE("malformed UTF-8 of every kind is found") {
  for (const std::string bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3\x28", "\xe2\x28\xa1", "\xe2\x82\x28",
        "\xf0\x9f\x98\x28", "\xfe"}) {
    CHECK(message_of<ltxmem::Error>([&] { strip("ok " + bad); }) == "the text is not valid UTF-8 (byte 3)");
  }
}

TEST_CASE("well-formed UTF-8 at the edges of the ranges is accepted") {
  for (const std::string good : {"\xc2\x80x", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                                 "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(strip(good) == good);
  }
}

TEST_CASE("a missing tokenizer file is named") {
  CHECK(message_of<ltxmem::IoError>([] { Tokenizer("/nonexistent/tokenizer.model"); }) ==
        "/nonexistent/tokenizer.model: cannot open: No such file or directory");
}

TEST_CASE("a tokenizer with other special ids is refused with both ids") {
  const ltx2::test::ScratchFolder folder;
  const std::string path = folder / "tokenizer.model";
  for (const std::string name : {"pad", "eos", "bos"}) {
    // The first mention is the piece itself: under another name the id is gone.
    std::string model = ltx2::test::file_text(model_path());
    model.replace(model.find("<" + name + ">"), 5, "<xyz>");
    ltx2::test::write_text(path, model);
    const std::string message = message_of<ltxmem::IoError>([&] { Tokenizer tokenizer(path); });
    CHECK(message.starts_with(path + ": not the tokenizer of Gemma 3: " + name + " id -1, expected "));
  }
}

TEST_CASE("damaged tokenizer files are refused by name") {
  const ltx2::test::ScratchFolder folder;
  const std::string path = folder / "tokenizer.model";
  const std::string whole = ltx2::test::file_text(model_path());
  for (const std::string& content :
       {std::string(), std::string("not a model"), whole.substr(0, whole.size() / 2), std::string(100, '\xff')}) {
    ltx2::test::write_text(path, content);
    CHECK(message_of<ltxmem::IoError>([&] { Tokenizer tokenizer(path); }).starts_with(path + ": not "));
  }
}

}  // namespace
