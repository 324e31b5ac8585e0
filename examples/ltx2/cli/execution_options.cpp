// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/execution_options.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/shared_options.hpp"
#include "ltxmem/backend/operations.hpp"
#include "runtime/scheme.hpp"

namespace ltx2 {
namespace {

std::vector<std::string> scheme_names() {
  std::vector<std::string> names{"auto"};
  for (const Scheme scheme : schemes) names.emplace_back(scheme_name(scheme));
  return names;
}

constexpr const char* tokens_expected = "', expected auto or a whole number from 1 to 1099511627776";

std::optional<std::int64_t> parse_tokens(std::string_view text) {
  std::int64_t tokens = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, tokens);
  if (read.ec != std::errc() || read.ptr != end || tokens < 1 || tokens > std::int64_t{1} << 40) return std::nullopt;
  return tokens;
}

constexpr const char* weights_expected = "', expected resident, stream or stream:SLOTS with 1 to 64 slots";

std::optional<WeightPlacement> parse_weights(std::string_view text) {
  WeightPlacement weights;
  if (text == "resident") return weights;
  weights.stream = true;
  if (text == "stream") return weights;
  constexpr std::string_view start = "stream:";
  if (!text.starts_with(start)) return std::nullopt;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data() + start.size(), end, weights.slots);
  if (read.ec != std::errc() || read.ptr != end || weights.slots < 1 || weights.slots > 64) return std::nullopt;
  return weights;
}

}  // namespace

void ExecutionOptions::add_to(CLI::App& app) {
  const std::string group = "Execution";
  app.add_option("--device", device, "Where to compute; this build knows cpu")
      ->check(CLI::IsMember({"cpu"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--dtype", dtype, "Type of activations: f32 or bf16")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str()
      ->group(group);
  add_threads_option(app, threads, "Threads; 0 takes every core. Does not change the result")->group(group);
  app.add_option_function<std::string>(
         "--scheme",
         [this](const std::string& name) {
           automatic.scheme = name == "auto";
           if (!automatic.scheme) scheme = name;
         },
         "Where the transformer keeps its long tensors. plain: everything at once; E1: x, keys and values on the "
         "device; E2: one group of heads at a time; E3: keys and values in host memory; E4: x as well; auto: the "
         "fastest that fits, by predicted time. Same bits")
      ->check(CLI::IsMember(scheme_names()))
      ->type_name("TEXT")
      ->default_str(scheme)
      ->group(group);
  const auto add_tile = [&](const char* name, std::int64_t& tokens, bool& is_automatic, const char* what) {
    app.add_option_function<std::string>(
           name,
           [&tokens, &is_automatic](const std::string& text) {
             is_automatic = text == "auto";
             if (!is_automatic) tokens = *parse_tokens(text);
           },
           what)
        ->check([](const std::string& text) {
          return text == "auto" || parse_tokens(text) ? "" : "'" + text + tokens_expected;
        })
        ->type_name("TOKENS|auto")
        ->default_str(std::to_string(tokens))
        ->group(group);
  };
  add_tile("--ffn-chunk", ffn_chunk, automatic.ffn_chunk,
           "Tokens per feed-forward chunk, rounded up to a multiple of 256; at most a query tile, because the network "
           "runs on the tile. Less memory, same bits");
  add_tile("--query-tile", query_tile, automatic.query_tile,
           "Tokens per tile of attention queries, rounded up to a multiple of 256. Less memory, same bits");
  add_tile("--key-tile", key_tile, automatic.key_tile,
           "Tokens per tile of keys and values, rounded up to a multiple of 256. Same bits");
  constexpr std::int64_t most_cells = std::int64_t{1} << 40;
  app.add_option("--decode-frames", decode_frames,
                 "Latent frames (8 frames each) that pass through the video autoencoder at a time. Same bits")
      ->check(CLI::Range(std::int64_t{1}, most_cells))
      ->capture_default_str()
      ->group(group);
  app.add_option("--decode-tile", decode_tile,
                 "Cells of 32 x 32 pixels, by as many, that the video decoder makes at a time; 0: whole frames. Less "
                 "device memory, more work, same bits")
      ->check(CLI::Range(std::int64_t{0}, most_cells))
      ->capture_default_str()
      ->group(group);
  app.add_option("--saved-prefix", saved_prefix,
                 "Where to keep what the first blocks leave for the perturbed pass of guidance: device, host, or none "
                 "(compute them again). Same bits")
      ->check(CLI::IsMember({"device", "host", "none"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--weights", weights,
                 "resident: used where the file is mapped (on a card: all in its memory); stream or stream:SLOTS: a "
                 "transformer block at a time travels through so many slots while the one before computes. Same bits")
      ->check([](const std::string& text) { return parse_weights(text) ? "" : "'" + text + weights_expected; })
      ->capture_default_str()
      ->group(group);
  app.add_option("--memory-budget,--max-vram", memory_budget,
                 "Device memory that may be used: bytes, 8GiB, 80% or -1GiB of what is free. What does not fit is "
                 "refused before any work, exit code 3")
      ->type_name("SIZE")
      ->group(group);
  app.add_option("--host-budget", host_budget, "The same for host memory")->type_name("SIZE")->group(group);
  app.add_option("--verbose", verbose,
                 "0: errors only, 1: progress and a summary, 2: memory of every step as it happens, planned and "
                 "actual, and of every stage")
      ->check(CLI::Range(0, 2))
      ->capture_default_str()
      ->group(group);
  add_progress_option(app, progress)->group(group);
  app.add_option("--report", report, "Write settings, memory peaks, times and operations of the run to this JSON file")
      ->group(group);
}

Settings ExecutionOptions::settings() const {
  Settings settings;
  settings.dtype = dtype == "f32" ? ltxmem::DType::f32 : ltxmem::DType::bf16;
  settings.threads = thread_count(threads);
  settings.scheme = *find_scheme(scheme);
  settings.query_tile = ltxmem::round_up(query_tile, ltxmem::row_quantum);
  settings.ffn_chunk = std::min(ltxmem::round_up(ffn_chunk, ltxmem::row_quantum), settings.query_tile);
  settings.key_tile = ltxmem::round_up(key_tile, ltxmem::key_quantum);
  settings.decode_frames = decode_frames;
  settings.decode_tile = decode_tile;
  if (saved_prefix != "none") {
    settings.saved_prefix = saved_prefix == "device" ? ltxmem::MemorySpace::device : ltxmem::MemorySpace::pinned;
  }
  settings.weights = *parse_weights(weights);
  settings.verbose = verbose;
  return settings;
}

}  // namespace ltx2
