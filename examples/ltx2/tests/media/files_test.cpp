// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/files.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "ltxmem/core/error.hpp"
#include "media/cleanup.hpp"
#include "support/catch.hpp"
#include "tests/support/scratch.hpp"

namespace {

using ltx2::FileWriter;
using ltx2::TemporaryOutput;
using ltx2::test::file_text;
using ltx2::test::message_of;
using ltx2::test::ScratchFolder;
using ltx2::test::write_text;

TEST_CASE("a committed temporary has the final name and nothing else remains") {
  const ScratchFolder folder;
  TemporaryOutput output(folder / "clip.mp4");
  FileWriter writer(output.path(), output.final_path());
  writer.write("content");
  writer.close();
  CHECK_FALSE(std::filesystem::exists(folder / "clip.mp4"));
  output.commit();
  CHECK(file_text(folder / "clip.mp4") == "content");
  CHECK(folder.entry_count() == 1);
}

TEST_CASE("a temporary that is not committed disappears and leaves the old file alone") {
  const ScratchFolder folder;
  write_text(folder / "clip.mp4", "old");
  {
    const TemporaryOutput output(folder / "clip.mp4");
    CHECK(folder.entry_count() == 2);
  }
  CHECK(folder.entry_count() == 1);
  CHECK(file_text(folder / "clip.mp4") == "old");
}

TEST_CASE("a temporary lies in the folder of its final path under a hidden name") {
  const ScratchFolder folder;
  const TemporaryOutput output(folder / "clip.mp4");
  CHECK(std::filesystem::path(output.path()).parent_path() == folder.path());
  CHECK(std::filesystem::path(output.path()).filename().string().starts_with(".clip.mp4.tmp-"));
}

TEST_CASE("two temporaries of one final path do not meet") {
  const ScratchFolder folder;
  const TemporaryOutput first(folder / "clip.mp4");
  const TemporaryOutput second(folder / "clip.mp4");
  CHECK(first.path() != second.path());
}

TEST_CASE("a folder that is not committed disappears with its content") {
  const ScratchFolder folder;
  {
    const TemporaryOutput output(folder / "frames/", TemporaryOutput::Kind::folder);
    write_text(output.path() + "/a", "x");
  }
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("a committed folder replaces an empty one but no other") {
  const ScratchFolder folder;
  std::filesystem::create_directory(folder / "frames");
  TemporaryOutput first(folder / "frames/", TemporaryOutput::Kind::folder);
  write_text(first.path() + "/a", "x");
  first.commit();
  CHECK(file_text(folder / "frames/a") == "x");
  TemporaryOutput second(folder / "frames/", TemporaryOutput::Kind::folder);
  CHECK(message_of<ltxmem::IoError>([&] { second.commit(); }).find("Directory not empty") != std::string::npos);
}

TEST_CASE("temporaries are registered for removal while they exist") {
  const ScratchFolder folder;
  const std::size_t before = ltx2::Cleanup::process().path_count();
  {
    TemporaryOutput output(folder / "a");
    CHECK(ltx2::Cleanup::process().path_count() == before + 1);
    output.commit();
    CHECK(ltx2::Cleanup::process().path_count() == before);
    const TemporaryOutput dropped(folder / "b");
    CHECK(ltx2::Cleanup::process().path_count() == before + 1);
  }
  CHECK(ltx2::Cleanup::process().path_count() == before);
}

TEST_CASE("a temporary in a folder that does not exist names the path and the cause") {
  const std::string message = message_of<ltxmem::IoError>([] { TemporaryOutput("/nonexistent/clip.mp4"); });
  CHECK(message == "/nonexistent/clip.mp4: cannot create a file in its folder: No such file or directory");
}

TEST_CASE("a failed temporary is not registered") {
  const std::size_t before = ltx2::Cleanup::process().path_count();
  CHECK_THROWS_AS(TemporaryOutput("/nonexistent/clip.mp4"), ltxmem::IoError);
  CHECK(ltx2::Cleanup::process().path_count() == before);
}

TEST_CASE("a full device is reported by name") {
  FileWriter writer("/dev/full", "clip.y4m");
  const std::string message = message_of<ltxmem::IoError>([&] { writer.write("x"); });
  CHECK(message == "clip.y4m: cannot write: No space left on device");
}

TEST_CASE("writing past the allowed file size is an error and leaves nothing") {
  const ScratchFolder folder;
  const std::string data(100000, 'x');
  const ltx2::test::ScopedFileSizeLimit limit(4096);
  CHECK_THROWS_AS(ltx2::write_file(folder / "data", std::as_bytes(std::span(data))), ltxmem::IoError);
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("a whole file comes back as it was written") {
  const ScratchFolder folder;
  const std::string data("a\0b", 3);
  ltx2::write_file(folder / "data", std::as_bytes(std::span(data)));
  const auto read = ltx2::read_file(folder / "data", 100);
  CHECK(std::string(reinterpret_cast<const char*>(read.data()), read.size()) == data);
}

TEST_CASE("an empty file is read as no bytes") {
  const ScratchFolder folder;
  write_text(folder / "empty", "");
  CHECK(ltx2::read_file(folder / "empty", 100).empty());
}

TEST_CASE("missing files, folders, devices and FIFOs are refused when read") {
  const ScratchFolder folder;
  const auto reason = [](const std::string& path) {
    return message_of<ltxmem::IoError>([&] { ltx2::read_file(path, 100); });
  };
  CHECK(reason(folder / "none") == (folder / "none") + ": cannot open: No such file or directory");
  CHECK(reason(folder.path()) == folder.path() + ": is a folder, not a file");
  CHECK(reason("/dev/zero") == "/dev/zero: is not a regular file");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(reason(folder / "fifo") == (folder / "fifo") + ": is not a regular file");
}

TEST_CASE("a file larger than the limit is refused before it is read") {
  const ScratchFolder folder;
  write_text(folder / "large", std::string(101, 'x'));
  const std::string message = message_of<ltxmem::IoError>([&] { ltx2::read_file(folder / "large", 100); });
  CHECK(message == (folder / "large") + ": 101 bytes, at most 100 are accepted");
}

TEST_CASE("a cleanup removes registered files and folders and nothing else") {
  const ScratchFolder folder;
  write_text(folder / "file", "x");
  write_text(folder / "other", "x");
  std::filesystem::create_directories(folder / "tree/deep");
  write_text(folder / "tree/deep/file", "x");
  ltx2::Cleanup cleanup;
  cleanup.add_path(folder / "file");
  cleanup.add_path(folder / "tree");
  cleanup.add_path(folder / "other");
  cleanup.forget_path(folder / "other");
  cleanup.remove_everything();
  CHECK(folder.entry_count() == 1);
  CHECK(std::filesystem::exists(folder / "other"));
}

TEST_CASE("a cleanup removes what is left when it is destroyed") {
  const ScratchFolder folder;
  write_text(folder / "file", "x");
  {
    ltx2::Cleanup cleanup;
    cleanup.add_path(folder / "file");
  }
  CHECK(folder.entry_count() == 0);
}

}  // namespace
