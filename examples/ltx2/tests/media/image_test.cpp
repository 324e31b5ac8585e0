// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/image.hpp"

#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "ltxmem/core/error.hpp"
#include "support/catch.hpp"
#include "tests/support/scratch.hpp"

namespace {

std::vector<float> resize_and_crop(const ltx2::Image& image, std::int64_t width, std::int64_t height) {
  std::vector<float> pixels(static_cast<std::size_t>(width * height * 3));
  ltx2::resize_and_crop(image, {pixels.data(), {height, width, 3}});
  return pixels;
}

using ltx2::Image;
using ltx2::load_image;
using ltx2::test::file_text;
using ltx2::test::message_of;
using ltx2::test::ScratchFolder;
using ltx2::test::write_text;

/// Smooth colours with a little structure.
Image pattern(std::int64_t width, std::int64_t height) {
  Image image{.width = width, .height = height, .pixels = {}};
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      image.pixels.push_back(static_cast<std::uint8_t>((x * 255) / std::max<std::int64_t>(width - 1, 1)));
      image.pixels.push_back(static_cast<std::uint8_t>((y * 255) / std::max<std::int64_t>(height - 1, 1)));
      image.pixels.push_back(static_cast<std::uint8_t>((x / 4 + y / 4) % 2 * 100 + 50));
    }
  }
  return image;
}

std::string jpeg_bytes(const Image& image) {
  tjhandle encoder = tjInitCompress();
  unsigned char* data = nullptr;
  unsigned long size = 0;
  const int result = tjCompress2(encoder, image.pixels.data(), static_cast<int>(image.width), 0,
                                 static_cast<int>(image.height), TJPF_RGB, &data, &size, TJSAMP_444, 95, 0);
  std::string bytes(reinterpret_cast<const char*>(data), size);
  tjFree(data);
  tjDestroy(encoder);
  REQUIRE(result == 0);
  return bytes;
}

/// A PNG of any of libpng's simple formats.
void write_png(const std::string& path, png_uint_32 format, png_uint_32 width, png_uint_32 height, const void* pixels,
               const void* palette = nullptr, png_uint_32 palette_entries = 0) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = format;
  image.colormap_entries = palette_entries;
  REQUIRE(png_image_write_to_file(&image, path.c_str(), 0, pixels, 0, palette) != 0);
}

double mean_difference(const Image& a, const Image& b) {
  REQUIRE(a.pixels.size() == b.pixels.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) sum += std::abs(int{a.pixels[i]} - int{b.pixels[i]});
  return sum / static_cast<double>(a.pixels.size());
}

TEST_CASE("a PNG image comes back exactly") {
  const ScratchFolder folder;
  const Image image = pattern(13, 7);
  ltx2::save_png(folder / "a.png", image);
  const Image loaded = load_image(folder / "a.png");
  CHECK(loaded.width == 13);
  CHECK(loaded.height == 7);
  CHECK(loaded.pixels == image.pixels);
  CHECK(folder.entry_count() == 1);
}

TEST_CASE("the transparency of a PNG is dropped, its colours stay as stored") {
  const ScratchFolder folder;
  const std::vector<std::uint8_t> pixels{200, 100, 50, 0, 10, 20, 30, 128};
  write_png(folder / "a.png", PNG_FORMAT_RGBA, 2, 1, pixels.data());
  CHECK(load_image(folder / "a.png").pixels == std::vector<std::uint8_t>{200, 100, 50, 10, 20, 30});
}

TEST_CASE("a grey PNG becomes RGB") {
  const ScratchFolder folder;
  const std::vector<std::uint8_t> pixels{0, 77, 255};
  write_png(folder / "a.png", PNG_FORMAT_GRAY, 3, 1, pixels.data());
  CHECK(load_image(folder / "a.png").pixels == std::vector<std::uint8_t>{0, 0, 0, 77, 77, 77, 255, 255, 255});
}

TEST_CASE("a palette PNG becomes RGB") {
  const ScratchFolder folder;
  const std::vector<std::uint8_t> palette{255, 0, 0, 0, 0, 255};
  const std::vector<std::uint8_t> pixels{1, 0};
  write_png(folder / "a.png", PNG_FORMAT_RGB_COLORMAP, 2, 1, pixels.data(), palette.data(), 2);
  CHECK(load_image(folder / "a.png").pixels == std::vector<std::uint8_t>{0, 0, 255, 255, 0, 0});
}

TEST_CASE("a JPEG image comes back nearly the same") {
  const ScratchFolder folder;
  const Image image = pattern(64, 48);
  write_text(folder / "a.jpg", jpeg_bytes(image));
  const Image loaded = load_image(folder / "a.jpg");
  CHECK(loaded.width == 64);
  CHECK(loaded.height == 48);
  CHECK(mean_difference(loaded, image) < 3.0);
}

TEST_CASE("the content of an image file decides, not its name") {
  const ScratchFolder folder;
  write_text(folder / "a.png", jpeg_bytes(pattern(16, 16)));
  CHECK(load_image(folder / "a.png").width == 16);
}

TEST_CASE("a PNG cut short anywhere is refused by name") {
  const ScratchFolder folder;
  ltx2::save_png(folder / "whole.png", pattern(40, 30));
  const std::string bytes = file_text(folder / "whole.png");
  const std::string path = folder / "cut.png";
  for (std::size_t length = 8; length < bytes.size() - 16; length += 37) {
    write_text(path, bytes.substr(0, length));
    CAPTURE(length);
    CHECK(message_of<ltxmem::IoError>([&] { load_image(path); }).starts_with(path + ": damaged PNG: "));
  }
}

TEST_CASE("a PNG with a flipped byte in its pixels is refused") {
  const ScratchFolder folder;
  ltx2::save_png(folder / "a.png", pattern(40, 30));
  std::string bytes = file_text(folder / "a.png");
  bytes[bytes.find("IDAT") + 20] ^= 0x55;
  write_text(folder / "a.png", bytes);
  CHECK(message_of<ltxmem::IoError>([&] { load_image(folder / "a.png"); }).find("damaged PNG") != std::string::npos);
}

TEST_CASE("a JPEG cut short anywhere is refused by name") {
  const ScratchFolder folder;
  const std::string bytes = jpeg_bytes(pattern(40, 30));
  const std::string path = folder / "cut.jpg";
  for (std::size_t length = 3; length < bytes.size() - 40; length += 61) {
    write_text(path, bytes.substr(0, length));
    CAPTURE(length);
    CHECK(message_of<ltxmem::IoError>([&] { load_image(path); }).starts_with(path + ": damaged JPEG: "));
  }
}

TEST_CASE("a CMYK JPEG is refused with the reason") {
  const ScratchFolder folder;
  const std::vector<unsigned char> pixels(16 * 16 * 4, 100);
  tjhandle encoder = tjInitCompress();
  unsigned char* data = nullptr;
  unsigned long size = 0;
  REQUIRE(tjCompress2(encoder, pixels.data(), 16, 0, 16, TJPF_CMYK, &data, &size, TJSAMP_444, 95, 0) == 0);
  write_text(folder / "a.jpg", std::string(reinterpret_cast<const char*>(data), size));
  tjFree(data);
  tjDestroy(encoder);
  CHECK(message_of<ltxmem::IoError>([&] { load_image(folder / "a.jpg"); }).find("CMYK") != std::string::npos);
}

TEST_CASE("a PNG that claims to be enormous is refused before memory is taken") {
  const ScratchFolder folder;
  ltx2::save_png(folder / "a.png", pattern(4, 4));
  std::string bytes = file_text(folder / "a.png");
  // A header whose checksum is right, so that only the size can be the reason.
  const std::string header{'I', 'H', 'D', 'R', 0, 0, 0x3a, '\x98', 0, 0, 0x3a, '\x98', 8, 2, 0, 0, 0};
  std::uint32_t crc = 0xffffffff;
  for (const char c : header) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xedb88320U : 0U);
  }
  crc = ~crc;
  bytes.replace(12, header.size(), header);
  for (std::size_t i = 0; i < 4; ++i) bytes[29 + i] = static_cast<char>((crc >> (24 - 8 * i)) & 0xffU);
  write_text(folder / "a.png", bytes);
  const std::string message = message_of<ltxmem::IoError>([&] { load_image(folder / "a.png"); });
  CHECK(message.find("15000 x 15000 pixels, at most") != std::string::npos);
}

TEST_CASE("the bytes of an image's pixels are known from its header alone") {
  const ScratchFolder folder;
  const std::string path = folder / "image";
  const Image image = pattern(50, 37);
  const std::vector<std::uint8_t> clear(std::size_t{50} * 37 * 4, 90);
  const std::vector<std::uint8_t> grey(std::size_t{50} * 37, 90);
  save_png(path, image);
  const std::string png = file_text(path);
  write_png(path, PNG_FORMAT_RGBA, 50, 37, clear.data());
  const std::string with_alpha = file_text(path);
  write_png(path, PNG_FORMAT_GRAY, 50, 37, grey.data());
  const std::string one_channel = file_text(path);
  for (const std::string& bytes : {png, with_alpha, one_channel, jpeg_bytes(image)}) {
    write_text(path, bytes);
    CHECK(ltx2::image_pixel_bytes(path) == load_image(path).pixels.size());
    CHECK(ltx2::image_pixel_bytes(path) == load_image(path).pixels.capacity());
    write_text(path, bytes.substr(0, bytes.size() - 20));  // damage that only decoding sees
    CHECK(ltx2::image_pixel_bytes(path) == image.pixels.size());
    CHECK_THROWS_AS(load_image(path), ltxmem::IoError);
    write_text(path, bytes.substr(0, 20));
    CHECK(message_of<ltxmem::IoError>([&] { ltx2::image_pixel_bytes(path); }) ==
          message_of<ltxmem::IoError>([&] { load_image(path); }));
  }
}

TEST_CASE("other files are no images") {
  const ScratchFolder folder;
  for (const std::string& content :
       {std::string(), std::string("GIF89a"), std::string("\x89PN"), std::string(1000, '\0')}) {
    write_text(folder / "a", content);
    CHECK(message_of<ltxmem::IoError>([&] { load_image(folder / "a"); }) ==
          (folder / "a") + ": neither a PNG nor a JPEG image");
  }
  CHECK_THROWS_AS(load_image(folder / "missing.png"), ltxmem::IoError);
  CHECK_THROWS_AS(load_image(folder.path()), ltxmem::IoError);
}

TEST_CASE("a PNG cannot be written to a folder that does not exist or a full disk") {
  const ScratchFolder folder;
  CHECK_THROWS_AS(ltx2::save_png(folder / "none/a.png", pattern(4, 4)), ltxmem::IoError);
  const ltx2::test::ScopedFileSizeLimit limit(10);
  CHECK_THROWS_AS(ltx2::save_png(folder / "a.png", pattern(4, 4)), ltxmem::IoError);
  CHECK(folder.entry_count() == 0);
}

TEST_CASE("resizing to the same size only maps levels to -1..1") {
  const Image image = pattern(6, 5);
  const std::vector<float> values = resize_and_crop(image, 6, 5);
  REQUIRE(values.size() == image.pixels.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(values[i] == static_cast<float>(image.pixels[i]) / 127.5F - 1.0F);
  }
}

TEST_CASE("black is -1 and white is 1") {
  CHECK(resize_and_crop({1, 1, {0, 255, 0}}, 1, 1) == std::vector<float>{-1.0F, 1.0F, -1.0F});
}

TEST_CASE("doubling a row of two pixels gives weights of quarters") {
  // Outputs sit at -0.25 (held at 0), 0.25, 0.75 and 1.25 (held at the last pixel) of the input.
  const Image image{2, 1, {0, 0, 0, 200, 200, 200}};
  const std::vector<float> values = resize_and_crop(image, 4, 2);
  const std::vector<float> levels{0, 50, 150, 200};
  for (std::size_t x = 0; x < 4; ++x) {
    for (std::size_t c = 0; c < 3; ++c) CHECK((values[3 * x + c] + 1.0F) * 127.5F == Approx(levels[x]).margin(1e-4));
  }
}

TEST_CASE("shrinking reads two neighbours only, without antialiasing") {
  // Six columns to two: positions 1 and 4 exactly, so columns 1 and 4 alone.
  Image image{6, 3, {}};
  for (int y = 0; y < 3; ++y) {
    for (std::uint8_t level = 10; level <= 60; level = static_cast<std::uint8_t>(level + 10))
      image.pixels.insert(image.pixels.end(), 3, level);
  }
  const std::vector<float> values = resize_and_crop(image, 2, 1);
  REQUIRE(values.size() == 6);
  CHECK((values[0] + 1.0F) * 127.5F == Approx(20));
  CHECK((values[3] + 1.0F) * 127.5F == Approx(50));
}

TEST_CASE("a wide image loses its sides, an odd surplus more at the right") {
  Image image{9, 2, {}};
  for (int y = 0; y < 2; ++y) {
    for (std::uint8_t x = 0; x < 9; ++x) image.pixels.insert(image.pixels.end(), 3, x);
  }
  // Scale 1; 9 - 4 = 5 columns too many: 2 at the left, 3 at the right.
  const std::vector<float> values = resize_and_crop(image, 4, 2);
  REQUIRE(values.size() == 24);
  for (std::size_t x = 0; x < 4; ++x) CHECK((values[3 * x] + 1.0F) * 127.5F == Approx(static_cast<float>(x + 2)));
}

TEST_CASE("a tall image loses its top and bottom") {
  Image image{2, 8, {}};
  for (std::uint8_t y = 0; y < 8; ++y) image.pixels.insert(image.pixels.end(), 6, y);
  const std::vector<float> values = resize_and_crop(image, 2, 2);
  CHECK((values[0] + 1.0F) * 127.5F == Approx(3));
  CHECK((values[6] + 1.0F) * 127.5F == Approx(4));
}

TEST_CASE("resizing follows the formula in double precision for many sizes") {
  const Image image = pattern(37, 23);
  for (const auto& [width, height] : {std::pair{64, 64}, {32, 48}, {100, 20}, {31, 17}, {1, 1}, {37, 24}}) {
    CAPTURE(width, height);
    const std::vector<float> values = resize_and_crop(image, width, height);
    const double scale = std::max(height / 23.0, width / 37.0);
    const int full_height = static_cast<int>(std::ceil(23 * scale));
    const int full_width = static_cast<int>(std::ceil(37 * scale));
    const auto at = [&image](int y, int x, int c) {
      return 1.0 * image.pixels[static_cast<std::size_t>((std::min(y, 22) * 37 + std::min(x, 36)) * 3 + c)];
    };
    double worst = 0;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const double sy = std::max(0.0, (y + (full_height - height) / 2 + 0.5) * 23 / full_height - 0.5);
        const double sx = std::max(0.0, (x + (full_width - width) / 2 + 0.5) * 37 / full_width - 0.5);
        const int y0 = static_cast<int>(sy);
        const int x0 = static_cast<int>(sx);
        for (int c = 0; c < 3; ++c) {
          const double expected = (1 - (sy - y0)) * ((1 - (sx - x0)) * at(y0, x0, c) + (sx - x0) * at(y0, x0 + 1, c)) +
                                  (sy - y0) * ((1 - (sx - x0)) * at(y0 + 1, x0, c) + (sx - x0) * at(y0 + 1, x0 + 1, c));
          const float got = values[static_cast<std::size_t>((y * width + x) * 3 + c)];
          worst = std::max(worst, std::abs(expected / 127.5 - 1 - static_cast<double>(got)));
        }
      }
    }
    CHECK(worst < 5e-6);  // positions up to 100 in float: 100 * 2^-24 of a step of at most 255/127.5
  }
}

TEST_CASE("resizing needs sizes") {
  CHECK_THROWS_AS(resize_and_crop({0, 4, {}}, 4, 4), ltxmem::ShapeError);
  CHECK_THROWS_AS(resize_and_crop(pattern(4, 4), 0, 4), ltxmem::ShapeError);
}

TEST_CASE("recompression with CRF 0 returns the image itself") {
  const Image image = pattern(33, 21);
  const Image result = ltx2::recompress(image, 0, [](const std::string&) { FAIL("warned"); });
  CHECK(result.width == 33);
  CHECK(result.pixels == image.pixels);
}

TEST_CASE("recompression crops to even sizes and changes the image more for a larger CRF") {
  const Image image = pattern(65, 49);
  const auto fail = [](const std::string& text) { FAIL(text); };
  const Image mild = ltx2::recompress(image, 5, fail);
  const Image strong = ltx2::recompress(image, 45, fail);
  REQUIRE(mild.width == 64);
  REQUIRE(mild.height == 48);
  Image cropped{64, 48, {}};
  for (std::ptrdiff_t y = 0; y < 48; ++y) {
    cropped.pixels.insert(cropped.pixels.end(), image.pixels.begin() + y * 65 * 3,
                          image.pixels.begin() + y * 65 * 3 + 64 * 3);
  }
  const double mild_change = mean_difference(mild, cropped);
  const double strong_change = mean_difference(strong, cropped);
  CHECK(mild_change < 8.0);
  CHECK(strong_change > mild_change);
}

TEST_CASE("recompression gives the same pixels every time") {
  const auto fail = [](const std::string& text) { FAIL(text); };
  const Image image = pattern(64, 48);
  CHECK(ltx2::recompress(image, 33, fail).pixels == ltx2::recompress(image, 33, fail).pixels);
}

TEST_CASE("without ffmpeg the image stays as it is and one warning says so") {
  const ltx2::test::ScopedVariable path("PATH", "");
  const Image image = pattern(64, 48);
  std::vector<std::string> warnings;
  const Image result = ltx2::recompress(image, 33, [&](const std::string& text) { warnings.push_back(text); });
  CHECK(result.pixels == image.pixels);
  REQUIRE(warnings.size() == 1);
  CHECK(warnings[0] == "no ffmpeg found in PATH; the condition image is used as it is (CRF 0 instead of 33)");
}

TEST_CASE("an ffmpeg without libx264 counts as none") {
  const ScratchFolder folder;
  ltx2::test::write_program(folder / "ffmpeg", "echo ' A....D aac   AAC'");
  const ltx2::test::ScopedVariable path("PATH", folder.path());
  std::string warning;
  ltx2::recompress(pattern(64, 48), 33, [&](const std::string& text) { warning = text; });
  CHECK(warning.starts_with((folder / "ffmpeg") + " has no encoder libx264;"));
}

TEST_CASE("an ffmpeg that fails during recompression is an error with its last words") {
  const ScratchFolder folder;
  ltx2::test::write_program(folder / "ffmpeg",
                            "case \"$*\" in *-encoders*) echo ' V....D libx264 x'; exit 0;; esac\n"
                            "echo broken today >&2; exit 9");
  const ltx2::test::ScopedVariable path("PATH", folder.path() + ":/usr/bin:/bin");
  const std::string message =
      message_of<ltxmem::IoError>([] { ltx2::recompress(pattern(64, 48), 33, [](const std::string&) {}); });
  CHECK(message.find("exit status 9") != std::string::npos);
  CHECK(message.find("broken today") != std::string::npos);
}

TEST_CASE("recompression refuses a CRF that H.264 does not have and images that are too small") {
  const auto ignore = [](const std::string&) {};
  CHECK_THROWS_AS(ltx2::recompress(pattern(8, 8), 52, ignore), ltxmem::IoError);
  CHECK_THROWS_AS(ltx2::recompress(pattern(8, 8), -1, ignore), ltxmem::IoError);
  CHECK_THROWS_AS(ltx2::recompress(pattern(1, 8), 33, ignore), ltxmem::IoError);
}

}  // namespace
