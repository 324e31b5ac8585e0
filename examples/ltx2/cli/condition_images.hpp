// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "media/image.hpp"
#include "pipeline/request.hpp"

namespace ltx2 {

/// The pictures of --image as their files have them, in order. Throws IoError naming the file.
inline std::vector<Image> load_images(const GenerateRequest& request) {
  std::vector<Image> images;
  for (const ImageRequest& image : request.images) images.push_back(load_image(image.path.string()));
  return images;
}

inline std::size_t pixel_bytes(const std::vector<Image>& images) {
  std::size_t bytes = 0;
  for (const Image& image : images) bytes += image.pixels.size();
  return bytes;
}

}  // namespace ltx2
