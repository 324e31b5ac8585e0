// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "media/image.hpp"
#include "pipeline/request.hpp"

namespace ltx2 {

/// What the pictures of --image take as their files have them, from the headers. Throws IoError naming the file.
inline std::size_t condition_image_bytes(const GenerateRequest& request) {
  std::size_t bytes = 0;
  for (const ImageRequest& image : request.images) bytes += image_pixel_bytes(image.path.string());
  return bytes;
}

}  // namespace ltx2
