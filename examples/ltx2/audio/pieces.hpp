// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "ltxmem/backend/tiles.hpp"
#include "model/receptive_field.hpp"

namespace ltx2 {

/// A part of a result, and the part of the input that it is computed from as if that were all of it.
struct Piece {
  std::int64_t input_begin = 0;
  std::int64_t inputs = 0;
  std::int64_t output_begin = 0;  ///< of the outputs that are kept
  std::int64_t outputs = 0;
  std::int64_t dropped = 0;  ///< outputs in front of these: they miss what lies before the input
};

/// body(piece) for overlapping pieces of a signal: bits of a result that is computed whole, memory that does not know
/// how long it is. A piece has size inputs, but at least as many as the receptive field reaches: only the pieces at
/// either end of the signal then differ from the others. It reads the receptive field of its outputs as well, whose
/// own outputs are computed again in the next one.
///
/// Input n belongs to the outputs [factor n, factor (n + 1)), of which there may be fewer in all.
template <class Backend, class Body>
void for_each_piece(Backend& backend, std::int64_t inputs, std::int64_t outputs, std::int64_t factor, std::int64_t size,
                    const ReceptiveField& field, const Body& body) {
  const auto piece_of = [&](std::int64_t begin, std::int64_t count) {
    Piece piece;
    piece.input_begin = std::max<std::int64_t>(begin - field.before, 0);
    piece.inputs = std::min(begin + count + field.after, inputs) - piece.input_begin;
    piece.output_begin = factor * begin;
    piece.outputs = std::min(factor * (begin + count), outputs) - piece.output_begin;
    piece.dropped = factor * (begin - piece.input_begin);
    return piece;
  };
  ltxmem::for_each_tile(backend, inputs, std::max({size, field.before, field.after}),
                        [&](std::int64_t begin, std::int64_t count) { body(piece_of(begin, count)); });
}

}  // namespace ltx2
