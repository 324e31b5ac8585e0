// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/rows.cuh"

namespace ltxmem::cuda {

/// ConvolutionGeometry and its operands with plain pointers: where an output position reads and writes.
template <Element T>
struct ConvolutionPlaces {
  struct Position {
    int at[3];
  };

  const T* x = nullptr;
  T* y = nullptr;
  const T* residual = nullptr;  ///< absent where null
  std::int64_t x_stride[3] = {};
  std::int64_t y_stride[3] = {};
  std::int64_t residual_stride[3] = {};
  int in[3] = {};
  int out[3] = {};
  int kernel[3] = {};
  int stride[3] = {};
  int dilation[3] = {};
  int pad_before[3] = {};
  Padding padding[3] = {};
  std::int64_t weight_stride = 0;

  LTXMEM_DEVICE Position position(std::int64_t index) const {
    const std::int64_t line = index / out[2];
    return {{static_cast<int>(line / out[1]), static_cast<int>(line % out[1]), static_cast<int>(index % out[2])}};
  }
  /// Channel 0 of what a tap of the kernel sees; null where it sees zeros.
  LTXMEM_DEVICE const T* source(const Position& position, int tap) const {
    const int taps[3] = {tap / (kernel[1] * kernel[2]), tap / kernel[2] % kernel[1], tap % kernel[2]};
    const T* from = x;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
      int at = position.at[axis] * stride[axis] - pad_before[axis] + taps[axis] * dilation[axis];
      if (at < 0 || at >= in[axis]) {
        if (padding[axis] == Padding::zeros) return nullptr;
        const bool before = at < 0;
        if (padding[axis] == Padding::replicate) at = before ? 0 : in[axis] - 1;
        if (padding[axis] == Padding::reflect) at = before ? -at : 2 * (in[axis] - 1) - at;
      }
      from += at * x_stride[axis];
    }
    return from;
  }
  LTXMEM_DEVICE std::int64_t weight(std::int64_t output, std::int64_t channel, int tap) const {
    return output * weight_stride + channel * (kernel[0] * kernel[1] * kernel[2]) + tap;
  }
  LTXMEM_DEVICE std::int64_t offset(const Position& position, const std::int64_t (&strides)[3]) const {
    return position.at[0] * strides[0] + position.at[1] * strides[1] + position.at[2] * strides[2];
  }
  LTXMEM_DEVICE T* target(const Position& position) const {
    return y + offset(position, y_stride);
  }
  LTXMEM_DEVICE const T* added(const Position& position) const {
    return residual == nullptr ? nullptr : residual + offset(position, residual_stride);
  }
};

/// The same for a transposed convolution over one axis: output n sees input (n + padding - tap) / stride where that is
/// whole.
template <Element T>
struct TransposedPlaces {
  using Position = std::int64_t;

  Rows<const T> x;
  Rows<T> y;
  std::int64_t length = 0;  ///< of x
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t weight_stride = 0;

  LTXMEM_DEVICE Position position(std::int64_t index) const { return index; }
  LTXMEM_DEVICE const T* source(Position position, int tap) const {
    const std::int64_t at = position + padding - tap;
    return at < 0 || at % stride != 0 || at / stride >= length ? nullptr : x.row(at / stride);
  }
  LTXMEM_DEVICE std::int64_t weight(std::int64_t output, std::int64_t channel, int tap) const {
    return channel * weight_stride + output * kernel + tap;
  }
  LTXMEM_DEVICE T* target(Position position) const { return y.row(position); }
  LTXMEM_DEVICE const T* added(Position) const { return nullptr; }
};

template <class Places>
struct ConvolutionKernelArguments {
  Places places;
  std::int64_t positions = 0;
  std::int64_t channels = 0;
  std::int64_t outputs = 0;
  int taps = 1;
  DeviceWeight weight;
  const float* scale = nullptr;  ///< of the weight; null: 1
  DeviceWeight bias;
};

/// A step of the sum: so many channels of one tap. Rows are two longer than a tile, so that the warp's stores, of 16
/// channels of two neighbours, lie in different banks.
struct ConvolutionShared {
  float patches[convolution_channels][convolution_tile + 2];
  float weights[convolution_channels][convolution_tile + 2];
};

/// y = scale * convolution(x) + bias + residual as a product of patches, which are never stored, and weights: a block
/// computes a tile of 64 positions by 64 outputs, a thread 4 by 4 of them, 16 apart.
///
/// Shapes    see ConvolutionArguments and TransposedConvolutionArguments; grid (ceil(positions / 64),
///           ceil(outputs / 64)), block convolution_threads
/// Memory    loads each element that a tap of one of its positions sees, and each weight of its outputs, once for each
///           block; the residual once; stores sizeof(T) for each output. Shared sizeof(ConvolutionShared), 8,448
/// Cost      2 positions outputs channels taps flops in fp32, not on the matrix units
/// Numerics  fp32 sums over blocks of 16 channels, within them over taps; one rounding to T
template <Element T, class Places>
__global__ void __launch_bounds__(convolution_threads, 2)
    convolution(const __grid_constant__ ConvolutionKernelArguments<Places> a) {
  constexpr int each = convolution_tile / 16;
  ConvolutionShared& shared = dynamic_shared<ConvolutionShared>();
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * convolution_tile;
  const std::int64_t first_output = static_cast<std::int64_t>(blockIdx.y) * convolution_tile;
  // Loading, a thread takes one channel of every 16th row of the tiles; computing, every 16th position and output.
  const int low = static_cast<int>(threadIdx.x % 16);
  const int high = static_cast<int>(threadIdx.x / 16);

  typename Places::Position loaded[each];
#pragma unroll
  for (int i = 0; i < each; ++i) loaded[i] = a.places.position(first + high + 16 * i);
  float sums[each][each] = {};
  for (std::int64_t channel = 0; channel < a.channels; channel += convolution_channels) {
    for (int tap = 0; tap < a.taps; ++tap) {
      const bool present = channel + low < a.channels;
#pragma unroll
      for (int i = 0; i < each; ++i) {
        const int row = high + 16 * i;
        float value = 0.0F;
        if (present && first + row < a.positions) {
          const T* from = a.places.source(loaded[i], tap);
          if (from != nullptr) value = static_cast<float>(load(from + channel + low));
        }
        store(&shared.patches[low][row], value);
        value = 0.0F;
        if (present && first_output + row < a.outputs) {
          value = a.weight.at(a.places.weight(first_output + row, channel + low, tap));
        }
        store(&shared.weights[low][row], value);
      }
      __syncthreads();
#pragma unroll 4
      for (int k = 0; k < convolution_channels; ++k) {
        float patch[each];
        float weight[each];
#pragma unroll
        for (int i = 0; i < each; ++i) {
          patch[i] = load(&shared.patches[k][high + 16 * i]);
          weight[i] = load(&shared.weights[k][low + 16 * i]);
        }
#pragma unroll
        for (int i = 0; i < each; ++i) {
#pragma unroll
          for (int j = 0; j < each; ++j) sums[i][j] += patch[i] * weight[j];
        }
      }
      __syncthreads();
    }
  }

  const float scale = a.scale == nullptr ? 1.0F : load(a.scale);
#pragma unroll
  for (int i = 0; i < each; ++i) {
    if (first + high + 16 * i < a.positions) {
      T* to = a.places.target(loaded[i]);
      const T* residual = a.places.added(loaded[i]);
#pragma unroll
      for (int j = 0; j < each; ++j) {
        const std::int64_t output = first_output + low + 16 * j;
        if (output < a.outputs) {
          float value = sums[i][j] * scale;
          if (a.bias.data != nullptr) value += a.bias.at(output);
          if (residual != nullptr) value += static_cast<float>(load(residual + output));
          store(to + output, static_cast<T>(value));
        }
      }
    }
  }
}

}  // namespace ltxmem::cuda
