// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ltxmem/backend/cuda/kernels/flash_attention.cuh"
#include "ltxmem/backend/cuda/kernels/linear.cuh"
#include "ltxmem/backend/cuda/kernels/matrix_convolution.cuh"
#include "ltxmem/backend/cuda/kernels/norm.cuh"

/// Every kernel that the backend launches, once: nvcc compiles them for all devices, g++ for the test double of
/// libcudart.

namespace ltxmem::cuda {

/// Calls visit(pointer to the kernel) for each.
template <class Visit>
void visit_kernels(Visit visit) {
  const auto cast = [&]<class From, class To>() {
    visit(&cast_rows<From, To, 1>);
    visit(&cast_rows<From, To, 4>);
  };
  const auto element = [&]<class T, int width>() {
    visit(&norm_rows<T, 1>);
    visit(&norm_rows<T, width>);
    visit(&head_norm_rows<T>);
    visit(&head_norm_factors<T>);
    visit(&finish_linear<T, 1>);
    visit(&finish_linear<T, 4>);
    visit(&convolution<T, ConvolutionPlaces<T>>);
    visit(&convolution<T, TransposedPlaces<T>>);
    visit(&plain_attention<T>);
    visit(&finalize_states<T>);
    cast.template operator()<float, T>();
    cast.template operator()<bfloat16, T>();
    cast.template operator()<half, T>();
    cast.template operator()<float8_e4m3, T>();
  };
  element.template operator()<float, 4>();
  element.template operator()<bfloat16, 8>();
  element.template operator()<half, 8>();
  visit(&reset_states<0>);
  visit(&merge_states<0>);
  visit(&product_factors<0>);
  const auto matrix_units = [&]<class T>() {
    visit(&flash_attention<T, 64, 64>);
    visit(&flash_attention<T, 128, 64>);
    visit(&flash_attention<T, 256, 32>);
    visit(&arrange_weights<T, ConvolutionPlaces<T>>);
    visit(&arrange_weights<T, TransposedPlaces<T>>);
    visit(&matrix_convolution<T, ConvolutionPlaces<T>, 64>);
    visit(&matrix_convolution<T, ConvolutionPlaces<T>, 128>);
    visit(&matrix_convolution<T, TransposedPlaces<T>, 64>);
    visit(&matrix_convolution<T, TransposedPlaces<T>, 128>);
  };
  matrix_units.template operator()<bfloat16>();
  matrix_units.template operator()<half>();
}

}  // namespace ltxmem::cuda
