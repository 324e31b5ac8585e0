// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/io/safetensors_writer.hpp"

#include <sys/resource.h>

#include <csignal>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ltxmem/io/safetensors.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using Catch::Matchers::Contains;
using namespace ltxmem;
using namespace ltxmem::test;

namespace {

std::vector<TensorSpec> two_tensors() {
  return {{"a", DType::f32, {2, 3}}, {"b", DType::u8, {5}}};
}

std::vector<std::byte> bytes(std::size_t count) {
  std::vector<std::byte> out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>(i * 7);
  return out;
}

}  // namespace

TEST_CASE("Headers look as Python's json.dumps writes them, padded to eight bytes", "[safetensors]") {
  const std::string header =
      safetensors_header({{"x\xc3\xa9", DType::bf16, {2, 3}}, {"s", DType::f32, {}}}, {{"k", "v\""}});
  const std::string json =
      R"({"__metadata__": {"k": "v\""}, "x\u00e9": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, )"
      R"("s": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]}})";
  CHECK(header.substr(0, json.size()) == json);
  CHECK(header.find_first_not_of(' ', json.size()) == std::string::npos);
  CHECK(header.size() % 8 == 0);
  CHECK(header.size() - json.size() < 8);
}

TEST_CASE("A name that is declared twice or reserved is refused", "[safetensors]") {
  CHECK_THROWS_AS(safetensors_header({{"a", DType::u8, {1}}, {"a", DType::u8, {1}}}, {}), IoError);
  CHECK_THROWS_AS(safetensors_header({{"__metadata__", DType::u8, {1}}}, {}), IoError);
}

TEST_CASE("A shape whose size overflows is refused", "[safetensors]") {
  const std::int64_t big = std::int64_t{1} << 40;
  CHECK_THROWS_AS(safetensors_header({{"a", DType::f32, {big, big}}}, {}), ShapeError);
}

TEST_CASE("What is written in pieces of any size is read back", "[safetensors]") {
  const TemporaryFolder folder;
  const auto data = bytes(29);
  const auto piece = GENERATE(std::size_t{1}, std::size_t{7}, std::size_t{24}, std::size_t{29});
  SafetensorsWriter writer(folder / "f", two_tensors(), {{"note", "hi"}});
  for (std::size_t at = 0; at < data.size(); at += piece) {
    writer.write(std::span(data).subspan(at, std::min(piece, data.size() - at)));
  }
  writer.commit();
  const SafetensorsFile file(folder / "f");
  CHECK(file.metadata().at("note") == "hi");
  REQUIRE(file.tensors().size() == 2);
  CHECK(file.at("a").shape == std::vector<std::int64_t>{2, 3});
  CHECK(file.at("b").dtype == DType::u8);
  CHECK(std::equal(data.begin() + 24, data.end(), file.data(file.at("b"))));
  CHECK(folder.entries() == 1);
}

TEST_CASE("Tensors without elements and files without tensors can be written", "[safetensors]") {
  const TemporaryFolder folder;
  SafetensorsWriter empty(folder / "empty", {});
  empty.commit();
  CHECK(SafetensorsFile(folder / "empty").tensors().empty());
  SafetensorsWriter zero(folder / "zero", {{"z", DType::f32, {0, 4}}, {"y", DType::u8, {1}}, {"x", DType::f32, {0}}});
  zero.write(bytes(1));
  zero.commit();
  CHECK(SafetensorsFile(folder / "zero").at("z").bytes == 0);
}

TEST_CASE("Without commit nothing is left behind", "[safetensors]") {
  const TemporaryFolder folder;
  { SafetensorsWriter writer(folder / "f", two_tensors()); }
  CHECK(folder.entries() == 0);
}

TEST_CASE("An existing file stays until the new one is whole", "[safetensors]") {
  const TemporaryFolder folder;
  write_file(folder / "f", "old");
  {
    SafetensorsWriter writer(folder / "f", two_tensors());
    writer.write(bytes(29));
    CHECK(file_content(folder / "f") == "old");
  }
  CHECK(file_content(folder / "f") == "old");
  SafetensorsWriter writer(folder / "f", two_tensors());
  writer.write(bytes(29));
  writer.commit();
  CHECK(SafetensorsFile(folder / "f").tensors().size() == 2);
}

TEST_CASE("Too little data is refused by the name of the tensor that lacks it", "[safetensors]") {
  const TemporaryFolder folder;
  {
    SafetensorsWriter writer(folder / "f", two_tensors());
    writer.write(bytes(26));
    CHECK_THAT(error_message<IoError>([&] { writer.commit(); }), Contains("'b' has 2 bytes") && Contains("expected 5"));
  }
  CHECK(folder.entries() == 0);
}

TEST_CASE("Too much data is refused", "[safetensors]") {
  const TemporaryFolder folder;
  SafetensorsWriter writer(folder / "f", two_tensors());
  CHECK_THAT(error_message<IoError>([&] { writer.write(bytes(30)); }), Contains("1 bytes more"));
}

TEST_CASE("A folder that does not exist is named", "[safetensors]") {
  const TemporaryFolder folder;
  const auto path = folder / "missing" / "f";
  CHECK_THAT(error_message<IoError>([&] { SafetensorsWriter(path, two_tensors()); }),
             Contains(path.string()) && Contains("No such file"));
}

TEST_CASE("A disk that is full leaves no file", "[safetensors]") {
  const TemporaryFolder folder;
  rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 4096;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  std::optional<std::string> message;
  try {
    SafetensorsWriter writer(folder / "f", {{"a", DType::u8, {10000}}});
    writer.write(bytes(10000));
    writer.commit();
  } catch (const IoError& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  REQUIRE(message);
  CHECK_THAT(*message, Contains((folder / "f").string()) && Contains("cannot write"));
  CHECK(folder.entries() == 0);
}
