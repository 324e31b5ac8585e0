// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ltxmem/core/tensor_view.hpp"

/// Condition images: reading, the H.264 round trip the models were trained with, resizing; and writing PNG.

namespace ltx2 {

/// RGB, 8 bits a channel, rows from the top, no padding between rows.
struct Image {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::vector<std::uint8_t> pixels;  ///< [height, width, 3]
};

/// Reads a PNG or JPEG file; its content decides which, not its name.
///
/// Transparency is dropped, not blended; grey and palette images become RGB; 16-bit channels become 8-bit; an EXIF
/// orientation is ignored (as the reference implementation does).
/// Memory    at most 2^26 pixels and 16384 a side are accepted, files up to 512 MiB
/// Throws    IoError naming the file and the cause. A JPEG that decodes only with warnings (cut short, damaged) is
/// refused
Image load_image(const std::string& path);

/// What load_image would take for its pixels, from the header of the file alone: damage behind it is not seen.
/// Throws    IoError as load_image does
std::size_t image_pixel_bytes(const std::string& path);

/// Writes a PNG under a temporary name, then renames it.
void save_png(const std::string& path, const Image& image);

/// The bytes of a PNG file. The same image always gives the same bytes.
std::vector<std::byte> encode_png(const Image& image, const std::string& name_in_errors);

/// One H.264 frame there and back: libx264, preset veryfast, yuv420p, constant rate factor `crf` (1..51), the image
/// cropped at the right and at the bottom to even sizes. 0 returns the image unchanged.
///
/// Without an ffmpeg that has libx264 the image also comes back unchanged, after `warn` was called with one sentence.
/// Throws    IoError (ffmpeg failed; image smaller than 2x2; crf out of range)
/// Source    sampling.md 6.6; the models saw compressed video frames, never pristine images
Image recompress(const Image& image, int crf, const std::function<void(const std::string&)>& warn);

/// Scales the image so that it covers the pixels (a dense tensor), cuts the middle out and maps 0..255 to -1..1.
///
/// Computes  s = max(height / h0, width / w0) in double; bilinear interpolation to ceil(h0 s) x ceil(w0 s) with pixel
///           centres at half integers and no antialiasing; crop at (size - wanted) / 2 rounded down; x / 127.5 - 1
/// Shapes    [height, width, 3]
/// Numerics  float throughout, in the order of torch.nn.functional.interpolate(align_corners=False)
/// Throws    ShapeError for empty sizes
void resize_and_crop(const Image& image, ltxmem::TensorView<float, 3> pixels);

}  // namespace ltx2
