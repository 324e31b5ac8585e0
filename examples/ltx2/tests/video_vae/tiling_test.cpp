// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ltxmem/backend/dry_run/replay.hpp"
#include "ltxmem/core/tensor.hpp"
#include "runtime/ledger.hpp"
#include "tests/support/video_example.hpp"
#include "video_vae/decoder.hpp"
#include "video_vae/frame_stream.hpp"

/// Frames made tile by tile against frames made whole.

namespace {

using namespace ltx2;
using namespace ltx2::test;

Settings in_tiles(std::int64_t cells, std::int64_t frames, ltxmem::DType dtype = ltxmem::DType::f32) {
  Settings settings = case_settings(dtype);
  settings.decode_tile = cells;
  settings.decode_frames = frames;
  return settings;
}

void check_tiles(const std::string& model, const ltxmem::Extents<3>& cells, ltxmem::DType dtype) {
  const GoldenCheckpoint checkpoint(model);
  const HostVolume latent({cells[0], cells[1], cells[2], (*checkpoint).config().video_vae->latent_channels}, 1);
  Runtime whole(in_tiles(0, 100, dtype));
  const HostVolume expected = run_decode(whole, *checkpoint, latent);
  for (const std::int64_t tile : {1, 2, 3, 100}) {
    for (const std::int64_t frames : {1, 3}) {
      Runtime runtime(in_tiles(tile, frames, dtype));
      INFO("tiles of " << tile << ", " << frames << " latent frames at a time");
      CHECK(ltxmem::test::same_bits(run_decode(runtime, *checkpoint, latent).values, expected.values));
    }
  }
}

Runtime::Plan planned(const Settings& settings, const ltxmem::Extents<3>& cells) {
  const Checkpoint checkpoint = true_autoencoder();
  const Runtime runtime(settings);
  return plan_decode_video(runtime, checkpoint, {cells[0], cells[1], cells[2], 128});
}

}  // namespace

TEST_CASE("Tiles cover an image once, the last ones being what is left") {
  const std::vector<Tile> tiles = tiles_of(Tile::whole(5, 7), 3);
  REQUIRE(tiles.size() == 6);
  std::int64_t covered = 0;
  for (const Tile& tile : tiles) covered += tile.rows.size() * tile.columns.size();
  CHECK(covered == 35);
  CHECK(tiles.back().rows.begin == 3);
  CHECK(tiles.back().rows.end == 5);
  CHECK(tiles.back().columns.size() == 1);
  CHECK(tiles_of(Tile::whole(5, 7), 0).size() == 1);
}

TEST_CASE("A span widens up to the border of its axis and no further") {
  const Span inner = Span{4, 6, 10}.widened();
  CHECK((inner.begin == 3 && inner.end == 7));
  const Span whole = Span::whole(10).widened();
  CHECK((whole.begin == 0 && whole.end == 10));
  const Span coarse = Span{3, 7, 10}.coarser(2);
  CHECK((coarse.begin == 1 && coarse.end == 4 && coarse.extent == 5));
}

TEST_CASE("Decoding in tiles with mirrored borders gives the bits of decoding whole frames") {
  check_tiles("ltx20_tiny", {2, 4, 5}, ltxmem::DType::f32);
}
TEST_CASE("Decoding in tiles with zeros around gives the bits of decoding whole frames") {
  check_tiles("ltx23_tiny", {4, 5, 3}, ltxmem::DType::f32);
}
TEST_CASE("Decoding in tiles gives the same bits in bf16") {
  check_tiles("ltx23_tiny", {2, 4, 2}, ltxmem::DType::bf16);
}
TEST_CASE("Tiles whose margins end within the image give the same bits") {
  const GoldenCheckpoint checkpoint("ltx23_tiny");
  const HostVolume latent({2, 1, 40, 6}, 2);
  Runtime whole(in_tiles(0, 1));
  Runtime tiled(in_tiles(7, 1));
  CHECK(ltxmem::test::same_bits(run_decode(tiled, *checkpoint, latent).values,
                                run_decode(whole, *checkpoint, latent).values));
}

TEST_CASE("Tiles with equal margins within the frame are of one kind, each counted once") {
  const std::vector<Tile> tiles = tiles_of(Tile::whole(5, 23), 2);
  const std::vector<EqualTiles> kinds = equal_tiles(tiles, 3);
  // Columns 0, 2, 4 to 18, 20 and 22, of which one is left; rows all differ.
  std::int64_t count = 0;
  std::int64_t most = 0;
  for (const EqualTiles& kind : kinds) {
    count += kind.count;
    most = std::max(most, kind.count);
  }
  CHECK(count == 36);
  CHECK(most == 8);
  CHECK(kinds.size() == 3 * 5);
  CHECK(equal_tiles(tiles, 23).size() == tiles.size());
}

namespace {

/// A dry run that sees every turn and every tile.
struct Unrolled : PlanBackend {
  using PlanBackend::PlanBackend;
  bool collapses_loops() const noexcept { return false; }
};

struct Seen {
  ltxmem::Record::Totals totals;
  std::vector<std::string> peaks;
  double seconds = 0;
  std::size_t entries = 0;
};

template <class Backend>
Seen dry_decode(const Checkpoint& checkpoint, const ltxmem::Extents<3>& cells, std::int64_t tile) {
  Backend backend(DeviceTarget({}, 1));
  ltxmem::Workspace workspace = ltxmem::Workspace::make_virtual(backend.record());
  const VideoDecoder<ltxmem::bfloat16, Backend> decode(*checkpoint.config().video_vae, checkpoint.prefixed("vae."));
  VirtualResource nowhere;
  const ltxmem::Tensor<float, 4> latent(nowhere, {cells[0], cells[1], cells[2], 128});
  decode(backend, latent.view(), {1, tile}, workspace, [](Backend&, ltxmem::TensorView<const float, 4>) {});
  const ltxmem::Record& record = backend.record();
  Seen seen{record.totals(),
            {},
            ltxmem::replay(record, *ltxmem::find_device_profile("cpu")).seconds,
            record.entries().size()};
  for (const ltxmem::MemorySpace space : ltxmem::memory_spaces) {
    const ltxmem::MemoryPeak peak = record.peak(space);
    std::string text = std::to_string(peak.bytes) + " in " + peak.step;
    for (const ltxmem::BufferSum& buffer : peak.buffers)
      text += ", " + buffer.name + " " + std::to_string(buffer.bytes);
    seen.peaks.push_back(text);
  }
  return seen;
}

}  // namespace

TEST_CASE("A plan that looks at one tile of each kind is that of all tiles, to the byte and the nanosecond") {
  const Checkpoint checkpoint = true_autoencoder();
  for (const std::int64_t tile : {2, 3}) {
    CAPTURE(tile);
    const Seen few = dry_decode<PlanBackend>(checkpoint, {9, 31, 47}, tile);
    const Seen all = dry_decode<Unrolled>(checkpoint, {9, 31, 47}, tile);
    CHECK(few.totals == all.totals);
    CHECK(few.peaks == all.peaks);
    CHECK(few.seconds == all.seconds);
    CHECK(few.entries * 3 < all.entries);
  }
}

TEST_CASE("In tiles and turns, device memory depends on neither the length of the clip nor the size of its frames") {
  const Settings tiles = in_tiles(8, 1, ltxmem::DType::bf16);
  const std::size_t small = planned(tiles, {3, 48, 48}).peak[0];
  CHECK(small == planned(tiles, {3, 68, 120}).peak[0]);  // 3840 x 2176 pixels
  CHECK(small == planned(tiles, {40, 48, 48}).peak[0]);
  CHECK(small == planned(tiles, {2, 128, 256}).peak[0]);
  CHECK(small < planned(in_tiles(0, 1, ltxmem::DType::bf16), {3, 68, 120}).peak[0] / 4);
}
