// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/size.hpp"

#include <cstdint>
#include <limits>
#include <string>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "tests/support/scratch.hpp"

namespace {

using ltx2::parse_bytes;
using ltx2::parse_size;
using ltx2::SizeOption;
using ltx2::test::message_of;

TEST_CASE("plain numbers are bytes") {
  CHECK(parse_bytes("0") == 0);
  CHECK(parse_bytes("123456") == 123456);
  CHECK(parse_bytes("12B") == 12);
}

TEST_CASE("binary units are powers of 1024") {
  CHECK(parse_bytes("3KiB") == 3072);
  CHECK(parse_bytes("1MiB") == 1048576);
  CHECK(parse_bytes("8GiB") == 8589934592);
  CHECK(parse_bytes("1TiB") == 1099511627776);
  CHECK(parse_bytes("8G") == 8589934592);
  CHECK(parse_bytes("1k") == 1024);
}

TEST_CASE("decimal units are powers of 1000") {
  CHECK(parse_bytes("3KB") == 3000);
  CHECK(parse_bytes("1MB") == 1000000);
  CHECK(parse_bytes("8GB") == 8000000000);
  CHECK(parse_bytes("2TB") == 2000000000000);
}

TEST_CASE("case and spaces do not matter") {
  CHECK(parse_bytes(" 8 gib ") == parse_bytes("8GiB"));
  CHECK(parse_bytes("8gB") == parse_bytes("8GB"));
}

TEST_CASE("fractions are exact where they can be and cut to whole bytes") {
  CHECK(parse_bytes("1.5GiB") == 1610612736);
  CHECK(parse_bytes("0.5KB") == 500);
  CHECK(parse_bytes("1.9B") == 1);
  CHECK(parse_bytes(".5KiB") == 512);
}

TEST_CASE("whole numbers stay exact beyond what a double holds") {
  CHECK(parse_bytes("9007199254740993") == 9007199254740993);
  CHECK(parse_bytes("9223372036854775807") == std::numeric_limits<std::int64_t>::max());
}

TEST_CASE("unknown units are named") {
  CHECK(message_of<ltxmem::ShapeError>([] { parse_bytes("12QB"); }) ==
        "size '12QB': unknown unit 'QB' (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB)");
}

TEST_CASE("texts without a number are refused") {
  for (const std::string text : {"", " ", "GiB", ".", "1.2.3", "+5", "0x10", "1e9", "nan", "inf", "8GiB8", "8 9"}) {
    CAPTURE(text);
    CHECK(message_of<ltxmem::ShapeError>([&] { parse_bytes(text); }).starts_with("size '" + text + "': "));
  }
}

TEST_CASE("sizes beyond 2^63 - 1 bytes are too large") {
  for (const std::string text :
       {"9223372036854775808", "99999999999999999999999", "8388608TiB", "8388608.5TiB", "9300000000000000000.5"}) {
    CAPTURE(text);
    CHECK(message_of<ltxmem::ShapeError>([&] { parse_bytes(text); }) == "size '" + text + "': too large");
  }
}

TEST_CASE("negative byte counts are refused") {
  CHECK(message_of<ltxmem::ShapeError>([] { parse_bytes("-1GiB"); }) == "size '-1GiB': must not be negative");
}

TEST_CASE("a budget may be bytes, whatever is free") {
  const SizeOption size = parse_size("2GiB");
  CHECK(size.kind == SizeOption::Kind::bytes);
  CHECK(size.resolve(1) == 2147483648);
}

TEST_CASE("a budget may be a share of what is free") {
  CHECK(parse_size("80%").resolve(1000) == 800);
  CHECK(parse_size("100%").resolve(1000) == 1000);
  CHECK(parse_size("12.5 %").resolve(1000) == 125);
}

TEST_CASE("a budget may be all but so many bytes") {
  CHECK(parse_size("-1KiB").resolve(3000) == 1976);
  CHECK(parse_size("-0").resolve(3000) == 3000);
  CHECK(message_of<ltxmem::ShapeError>([] { parse_size("-2KiB").resolve(2048); }) ==
        "a budget of all but 2.00 KiB leaves nothing: 2.00 KiB are free");
}

TEST_CASE("impossible shares are refused") {
  for (const std::string text : {"0%", "101%", "-5%", "%", "8GiB%", "--1GiB"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_size(text), ltxmem::ShapeError);
  }
}

TEST_CASE("sizes are shown in the largest unit that keeps a whole part") {
  CHECK(ltx2::format_bytes(0) == "0 B");
  CHECK(ltx2::format_bytes(1023) == "1023 B");
  CHECK(ltx2::format_bytes(1024) == "1.00 KiB");
  CHECK(ltx2::format_bytes(8053063680) == "7.50 GiB");
  CHECK(ltx2::format_bytes(1048575) == "1.00 MiB");
  CHECK(ltx2::format_bytes(std::numeric_limits<std::uint64_t>::max()) == "16.00 EiB");
}

}  // namespace
