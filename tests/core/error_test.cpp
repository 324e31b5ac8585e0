// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "ltxmem/core/error.hpp"

#include <cstdint>
#include <string>
#include <type_traits>

#include "support/catch.hpp"

using namespace ltxmem;

TEST_CASE("error: expects joins its parts only into the text it throws") {
  CHECK_NOTHROW(expects(true, "never ", 1));
  CHECK_THROWS_WITH(expects(false, "tokens ", std::int64_t{4096}, std::string(", expected "), 4095U),
                    "tokens 4096, expected 4095");
  CHECK_THROWS_AS(expects(false, "x"), ShapeError);
  CHECK_THROWS_AS(expects<DeviceError>(false, "x"), DeviceError);
}

TEST_CASE("error: out of memory carries its numbers and says them") {
  const OutOfMemory error("arena", 100, 20, 110);
  CHECK(error.requested_bytes() == 100);
  CHECK(error.in_use_bytes() == 20);
  CHECK(error.limit_bytes() == 110);
  CHECK(std::string(error.what()) == "arena: out of memory: asked for 100 bytes with 20 in use of 110");
}

TEST_CASE("error: out of memory without a limit does not print one") {
  const OutOfMemory error("host memory", 100, 0, OutOfMemory::unlimited);
  CHECK(std::string(error.what()) == "host memory: out of memory: asked for 100 bytes");
  const OutOfMemory unknown("library");
  CHECK(std::string(unknown.what()) == "library: out of memory");
  CHECK(unknown.limit_bytes() == OutOfMemory::unlimited);
}

TEST_CASE("error: everything the library throws is an Error") {
  static_assert(std::is_base_of_v<Error, ShapeError> && std::is_base_of_v<Error, DeviceError> &&
                std::is_base_of_v<Error, IoError> && std::is_base_of_v<Error, Cancelled> &&
                std::is_base_of_v<Error, OutOfMemory> && std::is_base_of_v<std::runtime_error, Error>);
  CHECK(std::string(Cancelled().what()) == "cancelled");
}
