// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/io/safetensors.hpp"

#include <random>
#include <string>
#include <vector>

#include "ltxmem/io/safetensors_writer.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using Catch::Matchers::Contains;
using namespace ltxmem;
using namespace ltxmem::test;

namespace {

/// A file of that header and that many bytes of data.
std::string image(const std::string& header, std::size_t data_bytes) {
  std::string out;
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>((header.size() >> shift) & 0xff));
  return out + header + std::string(data_bytes, '\1');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

struct Opened {
  TemporaryFolder folder;
  void operator()(const std::string& content) const {
    write_file(folder / "f", content);
    const SafetensorsFile file(folder / "f");
  }
};

std::string refusal(const std::string& content) {
  const Opened open;
  return error_message<IoError>([&] { open(content); });
}

}  // namespace

TEST_CASE("Every element type of the format that we know is read", "[safetensors]") {
  for (const char* name : {"F32", "BF16", "F16", "F8_E4M3", "F64", "I8", "U8", "I16", "I32", "I64", "BOOL"}) {
    const auto dtype = dtype_from_name(name);
    REQUIRE(dtype);
    CHECK(dtype_name(*dtype) == name);
    const std::size_t size = 3 * dtype_bytes(*dtype);
    std::string offsets("[0,");  // appended to: g++ 12 warns falsely about "text" + string here
    offsets.append(std::to_string(size)).append("]");
    std::string header("{");
    header.append(entry("a", name, "[3]", offsets)).append("}");
    CHECK_NOTHROW(Opened()(image(header, size)));
  }
}

TEST_CASE("Tensors come in the order of the header, whatever the order of their data", "[safetensors]") {
  const TemporaryFolder folder;
  write_file(folder / "f",
             image("{" + entry("z", "U8", "[2]", "[3,5]") + "," + entry("a", "U8", "[3]", "[0,3]") + "}", 5));
  const SafetensorsFile file(folder / "f");
  CHECK(file.tensors()[0].name == "z");
  CHECK(file.data(file.at("z")) == file.data(file.at("a")) + 3);
  CHECK(file.find("b") == nullptr);
  CHECK_THAT(error_message<IoError>([&] { file.at("b"); }), Contains("'b'") && Contains("missing"));
}

TEST_CASE("A matrix is used in place; another rank and misalignment are refused", "[safetensors]") {
  const TemporaryFolder folder;
  std::string header = "{" + entry("m", "F32", "[2,3]", "[0,24]") + "," + entry("v", "F32", "[1]", "[24,28]") + "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  write_file(folder / "f", image(header, 28));
  const SafetensorsFile file(folder / "f");
  const WeightMatrix matrix = file.weight_matrix("m");
  CHECK(matrix.data == file.data(file.at("m")));
  CHECK((matrix.rows == 2 && matrix.columns == 3 && matrix.row_stride == 3));
  CHECK_THAT(error_message<IoError>([&] { file.weight_matrix("v"); }), Contains("two dimensions"));
  write_file(folder / "g", image(header + " ", 28));
  const SafetensorsFile odd(folder / "g");
  CHECK_FALSE(odd.is_aligned(odd.at("m")));
  CHECK_THAT(error_message<IoError>([&] { odd.weight_matrix("m"); }), Contains("misaligned"));
}

TEST_CASE("Lengths that cannot be are refused", "[safetensors]") {
  CHECK_THAT(refusal(""), Contains("too short") && Contains("0 bytes"));
  CHECK_THAT(refusal("1234567"), Contains("too short"));
  CHECK_THAT(refusal(std::string(16, '\xff')), Contains("not a safetensors file"));
  CHECK_THAT(refusal(image("{}", 0).substr(0, 9)), Contains("truncated"));
  CHECK_THAT(refusal(image("", 0)), Contains("does not start with '{'"));
}

TEST_CASE("Headers that are not one strict JSON object are refused", "[safetensors]") {
  CHECK_THAT(refusal(image(" {}", 0)), Contains("does not start with '{'"));
  CHECK_THAT(refusal(image("[]", 0)), Contains("does not start with '{'"));
  CHECK_THAT(refusal(image("{} {}", 0)), Contains("follows"));
  CHECK_THAT(refusal(image("{\"a\":}", 0)), Contains("expected a value"));
  CHECK_NOTHROW(Opened()(image("{}   ", 0)));
}

TEST_CASE("A tensor that is there twice is refused", "[safetensors]") {
  const std::string one = entry("twin", "U8", "[1]", "[0,1]");
  CHECK_THAT(refusal(image("{" + one + "," + one + "}", 1)), Contains("duplicate key 'twin'"));
}

TEST_CASE("Metadata must be texts", "[safetensors]") {
  CHECK_THAT(refusal(image(R"({"__metadata__":3})", 0)), Contains("__metadata__ is not an object"));
  CHECK_THAT(refusal(image(R"({"__metadata__":{"k":1}})", 0)), Contains("'k' is not a string"));
}

TEST_CASE("A tensor's entry has exactly its three fields", "[safetensors]") {
  CHECK_THAT(refusal(image(R"({"a":1})", 0)), Contains("'a'") && Contains("not an object"));
  CHECK_THAT(refusal(image(R"({"a":{"shape":[0],"data_offsets":[0,0]}})", 0)), Contains("no dtype"));
  CHECK_THAT(refusal(image(R"({"a":{"dtype":"U8","data_offsets":[0,0]}})", 0)), Contains("no shape"));
  CHECK_THAT(refusal(image(R"({"a":{"dtype":"U8","shape":[0]}})", 0)), Contains("no data_offsets"));
  CHECK_THAT(refusal(image(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", 0)),
             Contains("unknown field 'x'"));
}

TEST_CASE("Unknown element types are refused by name", "[safetensors]") {
  CHECK_THAT(refusal(image("{" + entry("a", "F4", "[1]", "[0,1]") + "}", 1)), Contains("unknown dtype 'F4'"));
  CHECK_THAT(refusal(image(R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,1]}})", 1)), Contains("unknown dtype"));
}

TEST_CASE("Shapes and offsets are non-negative integers", "[safetensors]") {
  CHECK_THAT(refusal(image("{" + entry("a", "U8", "[-1]", "[0,1]") + "}", 1)), Contains("shape") && Contains("'a'"));
  CHECK_THAT(refusal(image("{" + entry("a", "U8", "[1.0]", "[0,1]") + "}", 1)), Contains("shape"));
  CHECK_THAT(refusal(image("{" + entry("a", "U8", "3", "[0,1]") + "}", 1)), Contains("shape is not a list"));
  CHECK_THAT(refusal(image("{" + entry("a", "U8", "[1]", "[-1,0]") + "}", 1)), Contains("data_offsets"));
  CHECK_THAT(refusal(image("{" + entry("a", "U8", "[1]", "[1]") + "}", 1)), Contains("a begin and an end"));
  CHECK_THAT(refusal(image("{" + entry("a", "U8", "[1]", "[1,0]") + "}", 1)), Contains("a begin and an end"));
}

TEST_CASE("Sizes follow from shape and type", "[safetensors]") {
  CHECK_THAT(refusal(image("{" + entry("a", "F32", "[3]", "[0,8]") + "}", 8)),
             Contains("8 bytes of data, expected 12"));
  CHECK_THAT(refusal(image("{" + entry("a", "U8", "[4294967296,4294967296]", "[0,0]") + "}", 0)),
             Contains("overflows"));
  CHECK_THAT(refusal(image("{" + entry("a", "F32", "[4611686018427387904]", "[0,0]") + "}", 0)), Contains("overflows"));
}

TEST_CASE("Tensors cover the data exactly", "[safetensors]") {
  const std::string a = entry("a", "U8", "[4]", "[0,4]");
  CHECK_THAT(refusal(image("{" + a + "}", 3)), Contains("truncated"));
  CHECK_THAT(refusal(image("{" + a + "}", 5)), Contains("end at byte 4 of 5"));
  CHECK_THAT(refusal(image("{" + a + "," + entry("b", "U8", "[2]", "[3,5]") + "}", 5)),
             Contains("'b'") && Contains("overlaps"));
  CHECK_THAT(refusal(image("{" + a + "," + entry("b", "U8", "[1]", "[5,6]") + "}", 6)),
             Contains("'b'") && Contains("hole"));
  CHECK_THAT(refusal(image("{" + entry("b", "U8", "[1]", "[1,2]") + "}", 2)), Contains("hole"));
  CHECK_NOTHROW(Opened()(image("{" + a + "," + entry("b", "U8", "[0]", "[4,4]") + "}", 4)));
}

TEST_CASE("A file damaged at random is read or refused, nothing else", "[safetensors]") {
  const std::string good = image(R"({"__metadata__":{"k":"v"},)" + entry("first", "F32", "[2,3]", "[0,24]") + "," +
                                     entry("second", "BF16", "[4]", "[24,32]") + "}",
                                 32);
  const Opened open;
  REQUIRE_NOTHROW(open(good));
  const auto seed = GENERATE(range(0U, 8U));
  std::mt19937 random(seed);
  int refused = 0;
  for (int round = 0; round < 100; ++round) {
    std::string bad = good;
    const auto flips = 1 + random() % 4;
    for (unsigned i = 0; i < flips; ++i) bad[random() % bad.size()] = static_cast<char>(random());
    if (random() % 3 == 0) bad.resize(random() % bad.size());
    if (random() % 5 == 0) bad.insert(random() % bad.size(), std::string(random() % 9, static_cast<char>(random())));
    write_file(open.folder / "f", bad);
    try {
      const SafetensorsFile file(open.folder / "f");
      std::size_t sum = 0;  // touches every byte that the header promises
      for (const TensorInfo& info : file.tensors()) {
        for (std::size_t i = 0; i < info.bytes; ++i) sum += std::to_integer<std::size_t>(file.data(info)[i]);
      }
      CHECK(sum <= 255 * bad.size());
    } catch (const IoError& error) {
      ++refused;
      CHECK_THAT(error.what(), Contains((open.folder / "f").string()));
    }
  }
  CHECK(refused > 50);
}
