// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "runtime/available_memory.hpp"

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "support/catch.hpp"
#include "tests/support/scratch.hpp"

using namespace ltx2;

namespace {

/// Control groups as files.
class Groups {
 public:
  explicit Groups(const std::string& membership) { write("membership", membership); }

  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << '\n';
  }
  std::optional<std::size_t> left() const {
    return available_in_control_groups(folder_ / "membership", folder_.path());
  }

 private:
  test::ScratchFolder folder_;
};

}  // namespace

TEST_CASE("Control groups of version 2 leave their limit less what is used and no cache of files", "[runtime]") {
  Groups groups("0::/jobs/mine");
  groups.write("jobs/mine/memory.max", "1000000");
  groups.write("jobs/mine/memory.current", "700000");
  groups.write("jobs/mine/memory.stat", "anon 200000\nactive_file 100000\ninactive_file 300000\nfile 450000");
  CHECK(groups.left() == 700000);
}

TEST_CASE("The least of a group and those above it counts", "[runtime]") {
  Groups groups("0::/jobs/mine");
  groups.write("jobs/mine/memory.max", "max");
  groups.write("jobs/mine/memory.current", "10");
  groups.write("jobs/memory.max", "5000");
  groups.write("jobs/memory.current", "1000");
  CHECK(groups.left() == 4000);
  groups.write("memory.max", "3000");
  groups.write("memory.current", "3500");
  CHECK(groups.left() == 0);
}

TEST_CASE("Control groups of version 1 have other names for the same", "[runtime]") {
  Groups groups("5:cpu:/elsewhere\n4:memory,hugetlb:/outside/mine\n0::/");
  groups.write("memory/memory.limit_in_bytes", "1000000");
  groups.write("memory/memory.usage_in_bytes", "700000");
  groups.write("memory/memory.stat", "inactive_file 1\ntotal_active_file 100000\ntotal_inactive_file 300000");
  CHECK(groups.left() == 700000);
}

TEST_CASE("Without a limit of control groups there is none", "[runtime]") {
  CHECK_FALSE(Groups("0::/jobs/mine").left());
  CHECK_FALSE(Groups("").left());
  Groups groups("0::/");
  groups.write("memory.max", "max");
  groups.write("memory.current", "10");
  CHECK_FALSE(groups.left());
  CHECK_FALSE(available_in_control_groups("/no/such/file"));
}

TEST_CASE("What a machine has available is no more than what its control groups leave", "[runtime]") {
  const std::size_t available = available_host_memory();
  CHECK(available > std::size_t{1} << 20);
  if (const auto left = available_in_control_groups()) CHECK(available <= *left + (std::size_t{64} << 20));
}
