// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "ltxmem/io/mapped_file.hpp"

#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

using Catch::Matchers::Contains;
using ltxmem::IoError;
using ltxmem::MappedFile;
using namespace ltxmem::test;

TEST_CASE("A mapped file shows the bytes of the file", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "a", "hello");
  const MappedFile file(folder / "a");
  REQUIRE(file.bytes().size() == 5);
  CHECK(std::to_integer<char>(file.bytes()[4]) == 'o');
}

TEST_CASE("An empty file can be mapped", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "empty", "");
  CHECK(MappedFile(folder / "empty").bytes().empty());
}

TEST_CASE("A missing file is refused with path and reason", "[io]") {
  const TemporaryFolder folder;
  const std::string message = error_message<IoError>([&] { MappedFile(folder / "nowhere"); });
  CHECK_THAT(message, Contains((folder / "nowhere").string()) && Contains("No such file"));
}

TEST_CASE("A folder and a pipe are not mapped", "[io]") {
  const TemporaryFolder folder;
  CHECK_THAT(error_message<IoError>([&] { MappedFile(folder.path()); }), Contains("Is a directory"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(error_message<IoError>([&] { MappedFile(folder / "pipe"); }), Contains("not a regular file"));
}

TEST_CASE("Parts of a file are read past the mapping", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "a", "hello world");
  MappedFile other(folder / "a");
  const MappedFile file(std::move(other));
  std::array<std::byte, 5> part{};
  file.read(6, part);
  CHECK(std::memcmp(part.data(), "world", 5) == 0);
  file.will_need(0, 11);
  file.drop(0, 11);
  file.read(0, part);
  CHECK(std::memcmp(part.data(), "hello", 5) == 0);
  CHECK_THROWS_AS(file.read(7, part), IoError);
  CHECK_THROWS_AS(file.read(12, {}), IoError);
  CHECK_NOTHROW(file.read(11, {}));
}

TEST_CASE("A file cut short while it is mapped is an error to read, not the end of the program", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "a", std::string(10000, 'x'));
  const MappedFile file(folder / "a");
  std::filesystem::resize_file(folder / "a", 100);
  std::vector<std::byte> part(200);
  CHECK_THAT(error_message<IoError>([&] { file.read(50, part); }),
             Contains("has become shorter: 100 bytes, expected 10000"));
}

TEST_CASE("A mapping moves and stays valid", "[io]") {
  const TemporaryFolder folder;
  write_file(folder / "a", "first");
  write_file(folder / "b", "second");
  MappedFile file(folder / "a");
  const auto* data = file.bytes().data();
  MappedFile moved(std::move(file));
  CHECK(moved.bytes().data() == data);
  moved = MappedFile(folder / "b");
  CHECK(moved.bytes().size() == 6);
  std::array<std::byte, 6> second{};
  moved.read(0, second);
  CHECK(std::memcmp(second.data(), "second", 6) == 0);
  CHECK(moved.path() == folder / "b");
}
