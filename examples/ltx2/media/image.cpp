// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "media/image.hpp"

#include <png.h>
#include <turbojpeg.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include "ltxmem/core/error.hpp"
#include "media/child_process.hpp"
#include "media/ffmpeg.hpp"
#include "media/files.hpp"

namespace ltx2 {
namespace {

constexpr std::uint64_t max_file_bytes = std::uint64_t{512} << 20;
constexpr std::int64_t max_side = 16384;
constexpr std::int64_t max_pixels = std::int64_t{1} << 26;

void check_size(const std::string& path, std::int64_t width, std::int64_t height) {
  if (width < 1 || height < 1) throw ltxmem::IoError(path + ": the image is empty");
  if (width > max_side || height > max_side || width * height > max_pixels) {
    throw ltxmem::IoError(path + ": the image has " + std::to_string(width) + " x " + std::to_string(height) +
                          " pixels, at most " + std::to_string(max_side) + " a side and " + std::to_string(max_pixels) +
                          " in all are accepted");
  }
}

/// libpng's simplified interface keeps its state in one struct that must be freed on every path.
struct PngImage : png_image {
  PngImage() : png_image{} { version = PNG_IMAGE_VERSION; }
  PngImage(const PngImage&) = delete;
  PngImage& operator=(const PngImage&) = delete;
  ~PngImage() { png_image_free(this); }
};

/// The size, no pixels; leaves the decoder behind the header.
Image begin_png(const std::string& path, std::span<const std::byte> data, PngImage& png) {
  if (png_image_begin_read_from_memory(&png, data.data(), data.size()) == 0) {
    throw ltxmem::IoError(path + ": damaged PNG: " + png.message);
  }
  Image image{.width = png.width, .height = png.height, .pixels = {}};
  check_size(path, image.width, image.height);
  return image;
}

Image decode_png(const std::string& path, std::span<const std::byte> data) {
  PngImage png;
  Image image = begin_png(path, data, png);
  // With an alpha channel asked for, libpng hands the colours out as they are; without, it would blend them.
  const bool has_alpha = (png.format & PNG_FORMAT_FLAG_ALPHA) != 0;
  png.format = has_alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
  png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  const std::size_t pixel_count = static_cast<std::size_t>(image.width * image.height);
  image.pixels.resize(pixel_count * (has_alpha ? 4 : 3));
  if (png_image_finish_read(&png, nullptr, image.pixels.data(), 0, nullptr) == 0) {
    throw ltxmem::IoError(path + ": damaged PNG: " + png.message);
  }
  if (has_alpha) {
    for (std::size_t i = 0; i < pixel_count; ++i) {
      std::memmove(image.pixels.data() + 3 * i, image.pixels.data() + 4 * i, 3);
    }
    image.pixels.resize(pixel_count * 3);
    image.pixels.shrink_to_fit();
  }
  return image;
}

using JpegDecoder = std::unique_ptr<void, int (*)(tjhandle)>;

JpegDecoder make_jpeg_decoder(const std::string& path) {
  JpegDecoder decoder(tjInitDecompress(), &tjDestroy);
  if (!decoder) throw ltxmem::IoError(path + ": cannot start the JPEG decoder");
  return decoder;
}

/// The size, no pixels.
Image begin_jpeg(const std::string& path, std::span<const std::byte> data, const JpegDecoder& decoder) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(data.data());
  int width = 0;
  int height = 0;
  int subsampling = 0;
  int colours = 0;
  if (tjDecompressHeader3(decoder.get(), bytes, data.size(), &width, &height, &subsampling, &colours) != 0) {
    throw ltxmem::IoError(path + ": damaged JPEG: " + tjGetErrorStr2(decoder.get()));
  }
  // A file that ends inside its tables passes the header check without any size.
  if (width < 1 || height < 1) throw ltxmem::IoError(path + ": damaged JPEG: it ends before the image");
  if (colours == TJCS_CMYK || colours == TJCS_YCCK) {
    throw ltxmem::IoError(path + ": CMYK JPEG images are not supported, save it as RGB");
  }
  check_size(path, width, height);
  return {.width = width, .height = height, .pixels = {}};
}

Image decode_jpeg(const std::string& path, std::span<const std::byte> data) {
  const JpegDecoder decoder = make_jpeg_decoder(path);
  Image image = begin_jpeg(path, data, decoder);
  image.pixels.resize(static_cast<std::size_t>(image.width * image.height * 3));
  // Warnings (data that ends early, bad codes) make it return -1 as well.
  if (tjDecompress2(decoder.get(), reinterpret_cast<const unsigned char*>(data.data()), data.size(),
                    image.pixels.data(), static_cast<int>(image.width), 0, static_cast<int>(image.height), TJPF_RGB,
                    TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS) != 0) {
    throw ltxmem::IoError(path + ": damaged JPEG: " + tjGetErrorStr2(decoder.get()));
  }
  return image;
}

/// Whether the content is a PNG, or else a JPEG.
bool is_png(const std::string& path, std::span<const std::byte> data) {
  constexpr std::array<unsigned char, 8> png_signature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  constexpr std::array<unsigned char, 3> jpeg_signature{0xff, 0xd8, 0xff};
  const auto starts_with = [&data](const auto& signature) {
    return data.size() >= signature.size() && std::memcmp(data.data(), signature.data(), signature.size()) == 0;
  };
  if (starts_with(png_signature)) return true;
  if (starts_with(jpeg_signature)) return false;
  throw ltxmem::IoError(path + ": neither a PNG nor a JPEG image");
}

/// Where one output coordinate of a bilinear resize reads: two neighbours and their weights.
struct Tap {
  std::int64_t first;
  std::int64_t second;
  float first_weight;
  float second_weight;
};

/// Taps for the outputs [begin, begin + count) of a resize from `source` to `target` samples.
std::vector<Tap> bilinear_taps(std::int64_t source, std::int64_t target, std::int64_t begin, std::int64_t count) {
  const float step = static_cast<float>(source) / static_cast<float>(target);
  std::vector<Tap> taps;
  for (std::int64_t i = begin; i < begin + count; ++i) {
    const float position = std::max(step * (static_cast<float>(i) + 0.5F) - 0.5F, 0.0F);
    const std::int64_t first = std::min(static_cast<std::int64_t>(std::floor(position)), source - 1);
    const float weight = std::clamp(position - static_cast<float>(first), 0.0F, 1.0F);
    taps.push_back({first, std::min(first + 1, source - 1), 1.0F - weight, weight});
  }
  return taps;
}

}  // namespace

Image load_image(const std::string& path) {
  const std::vector<std::byte> data = read_file(path, max_file_bytes);
  return is_png(path, data) ? decode_png(path, data) : decode_jpeg(path, data);
}

std::size_t image_pixel_bytes(const std::string& path) {
  const std::vector<std::byte> data = read_file(path, max_file_bytes);
  PngImage png;
  const Image image = is_png(path, data) ? begin_png(path, data, png) : begin_jpeg(path, data, make_jpeg_decoder(path));
  return static_cast<std::size_t>(image.width * image.height * 3);
}

std::vector<std::byte> encode_png(const Image& image, const std::string& name_in_errors) {
  check_size(name_in_errors, image.width, image.height);
  PngImage png;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  std::vector<std::byte> data(PNG_IMAGE_PNG_SIZE_MAX(png));
  png_alloc_size_t size = data.size();
  if (png_image_write_to_memory(&png, data.data(), &size, 0, image.pixels.data(), 0, nullptr) == 0) {
    throw ltxmem::IoError(name_in_errors + ": cannot encode PNG: " + png.message);
  }
  data.resize(size);
  return data;
}

void save_png(const std::string& path, const Image& image) {
  write_file(path, encode_png(image, path));
}

Image recompress(const Image& image, int crf, const std::function<void(const std::string&)>& warn) {
  if (crf == 0) return image;
  if (crf < 0 || crf > 51) {
    throw ltxmem::IoError("image recompression: crf " + std::to_string(crf) + ", must be between 0 and 51");
  }
  Image cropped{.width = image.width / 2 * 2, .height = image.height / 2 * 2, .pixels = {}};
  if (cropped.width < 2 || cropped.height < 2) {
    throw ltxmem::IoError("image recompression: the image has " + std::to_string(image.width) + " x " +
                          std::to_string(image.height) + " pixels, at least 2 x 2 are needed");
  }
  const Ffmpeg ffmpeg = find_ffmpeg({"libx264"});
  if (!ffmpeg.problem.empty()) {
    warn(ffmpeg.problem + "; the condition image is used as it is (CRF 0 instead of " + std::to_string(crf) + ")");
    return image;
  }
  const auto row_bytes = static_cast<std::size_t>(cropped.width) * 3;
  cropped.pixels.resize(row_bytes * static_cast<std::size_t>(cropped.height));
  for (std::int64_t y = 0; y < cropped.height; ++y) {
    std::memcpy(cropped.pixels.data() + static_cast<std::size_t>(y) * row_bytes,
                image.pixels.data() + static_cast<std::size_t>(y * image.width) * 3, row_bytes);
  }
  const std::string size = std::to_string(cropped.width) + "x" + std::to_string(cropped.height);

  ChildProcess encoder(ffmpeg.command({"-f",          "rawvideo",
                                       "-pix_fmt",    "rgb24",
                                       "-video_size", size,
                                       "-framerate",  "1",
                                       "-i",          "pipe:0",
                                       "-frames:v",   "1",
                                       "-vf",         "scale=flags=bilinear,format=yuv420p",
                                       "-c:v",        "libx264",
                                       "-preset",     "veryfast",
                                       "-crf",        std::to_string(crf),
                                       "-threads",    "1",
                                       "-f",          "h264",
                                       "pipe:1"}));
  encoder.write(std::as_bytes(std::span(cropped.pixels)));
  const std::vector<std::byte> stream = encoder.finish();

  ChildProcess decoder(
      ffmpeg.command({"-f", "h264", "-framerate", "1", "-i", "pipe:0", "-frames:v", "1", "-vf",
                      "scale=flags=bilinear,format=rgb24", "-threads", "1", "-f", "rawvideo", "pipe:1"}));
  decoder.write(stream);
  const std::vector<std::byte> frame = decoder.finish();
  if (frame.size() != cropped.pixels.size()) {
    throw ltxmem::IoError("image recompression: ffmpeg returned " + std::to_string(frame.size()) + " bytes, expected " +
                          std::to_string(cropped.pixels.size()));
  }
  std::memcpy(cropped.pixels.data(), frame.data(), frame.size());
  return cropped;
}

void resize_and_crop(const Image& image, ltxmem::TensorView<float, 3> pixels) {
  const std::int64_t height = pixels.extent(0);
  const std::int64_t width = pixels.extent(1);
  ltxmem::expects(pixels.is_dense() && pixels.extent(2) == 3, "resize_and_crop: no dense pixels of three channels");
  ltxmem::expects(image.width > 0 && image.height > 0 && width > 0 && height > 0, "resize_and_crop: from ", image.width,
                  " x ", image.height, " to ", width, " x ", height, ", sizes must be positive");
  const double scale = std::max(static_cast<double>(height) / static_cast<double>(image.height),
                                static_cast<double>(width) / static_cast<double>(image.width));
  // ceil of a product that should be an integer may land one higher; the reference does the same.
  const auto scaled_height = static_cast<std::int64_t>(std::ceil(static_cast<double>(image.height) * scale));
  const auto scaled_width = static_cast<std::int64_t>(std::ceil(static_cast<double>(image.width) * scale));
  const std::vector<Tap> rows = bilinear_taps(image.height, scaled_height, (scaled_height - height) / 2, height);
  const std::vector<Tap> columns = bilinear_taps(image.width, scaled_width, (scaled_width - width) / 2, width);

  float* result = pixels.data();
  for (const Tap& row : rows) {
    const std::uint8_t* upper = image.pixels.data() + row.first * image.width * 3;
    const std::uint8_t* lower = image.pixels.data() + row.second * image.width * 3;
    for (const Tap& column : columns) {
      for (std::int64_t c = 0; c < 3; ++c) {
        const auto across = [&column, c](const std::uint8_t* line) {
          return column.first_weight * static_cast<float>(line[column.first * 3 + c]) +
                 column.second_weight * static_cast<float>(line[column.second * 3 + c]);
        };
        const float value = row.first_weight * across(upper) + row.second_weight * across(lower);
        *result++ = value / 127.5F - 1.0F;
      }
    }
  }
}

}  // namespace ltx2
