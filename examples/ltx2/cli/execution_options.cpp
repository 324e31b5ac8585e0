// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/execution_options.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/shared_options.hpp"
#include "ltxmem/backend/operations.hpp"
#include "runtime/processes.hpp"
#include "runtime/rank_cards.hpp"
#include "runtime/scheme.hpp"
#include "runtime/size.hpp"

namespace ltx2 {
namespace {

std::vector<std::string> scheme_names() {
  std::vector<std::string> names{"auto"};
  for (const Scheme scheme : schemes) names.emplace_back(scheme_name(scheme));
  return names;
}

std::vector<std::string> parallel_names() {
  std::vector<std::string> names;
  for (const RankLayout layout : rank_layouts) names.emplace_back(rank_layout_name(layout));
  names.emplace_back("none");
  return names;
}

constexpr std::int64_t most_tokens = std::int64_t{1} << 40;

std::optional<std::int64_t> parse_number(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number);
  if (read.ec != std::errc() || read.ptr != end || number < least || number > most) return std::nullopt;
  return number;
}

constexpr const char* weights_expected = "', expected auto, resident, stream or stream:SLOTS with 1 to 64 slots";

std::optional<ltxmem::Device> parse_device(std::string_view text) {
  if (text == "cpu") return ltxmem::Device{};
  if (text == "cuda") return ltxmem::Device{ltxmem::DeviceKind::cuda, 0};
  constexpr std::string_view start = "cuda:";
  if (!text.starts_with(start)) return std::nullopt;
  const auto index = parse_number(text.substr(start.size()), 0, 1023);
  if (!index) return std::nullopt;
  return ltxmem::Device{ltxmem::DeviceKind::cuda, static_cast<int>(*index)};
}

/// Of "auto" it is the placement to begin with.
std::optional<WeightPlacement> parse_weights(std::string_view text) {
  WeightPlacement weights;
  if (text == "resident" || text == "auto") return weights;
  weights.stream = true;
  if (text == "stream") return weights;
  constexpr std::string_view start = "stream:";
  if (!text.starts_with(start)) return std::nullopt;
  const auto slots = parse_number(text.substr(start.size()), 1, 64);
  if (!slots) return std::nullopt;
  weights.slots = *slots;
  return weights;
}

constexpr const char* store_expected =
    "', expected host, rank:NUMBER,... or cuda:INDEX,..., each with =SIZE or without";

/// "host", or "rank:" or "cuda:" and numbers, each perhaps with "=" and a size; in the order of their numbers.
std::optional<std::vector<StoreSettings>> parse_stores(std::string_view text) {
  std::vector<StoreSettings> stores;
  if (text == "host") return stores;
  StoreSettings store;
  if (text.starts_with("cuda:")) {
    store.kind = ltxmem::DeviceKind::cuda;
  } else if (!text.starts_with("rank:")) {
    return std::nullopt;
  }
  text.remove_prefix(5);
  for (bool more = true; more;) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    const std::size_t equals = part.find('=');
    const auto index = parse_number(part.substr(0, equals), 0, 1023);
    if (!index) return std::nullopt;
    store.index = static_cast<int>(*index);
    store.free_bytes = StoreSettings::unlimited;
    if (equals != std::string_view::npos) store.free_bytes = parse_bytes(part.substr(equals + 1));
    stores.push_back(store);
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);
  }
  std::stable_sort(stores.begin(), stores.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
  return stores;
}

std::string expect_blocks(const std::string& text) {
  if (text == "auto" || parse_number(text, 0, most_tokens)) return {};
  return "'" + text + "', expected auto or a whole number";
}

}  // namespace

void ExecutionOptions::add_to(CLI::App& app) {
  const std::string group = "Execution";
  app.add_option("--device", device,
                 "Where to compute: cpu, cuda (the first NVIDIA card) or cuda:INDEX; several ranks take the cards from "
                 "there on, one each; a plan has it from --device-profile")
      ->check([](const std::string& text) {
        return parse_device(text) ? std::string() : "'" + text + "', expected cpu, cuda or cuda:INDEX";
      })
      ->type_name("cpu|cuda[:INDEX]")
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
         "fastest that fits, by predicted time, with auto for every tile, weights and the saved prefix where they are "
         "not stated. Same bits")
      ->check(CLI::IsMember(scheme_names()))
      ->type_name("TEXT")
      ->default_str(scheme)
      ->group(group);
  const auto add_tile = [&](const char* name, std::int64_t& size, bool Automatic::*is_automatic, std::int64_t least,
                            const char* unit, const char* what) {
    const auto parse = [least](const std::string& text) { return parse_number(text, least, most_tokens); };
    const CLI::Option* option = app.add_option_function<std::string>(
                                       name,
                                       [this, &size, is_automatic, parse](const std::string& text) {
                                         automatic.*is_automatic = text == "auto";
                                         if (text != "auto") size = *parse(text);
                                       },
                                       what)
                                    ->check([parse, least](const std::string& text) {
                                      if (text == "auto" || parse(text)) return std::string();
                                      return "'" + text + "', expected auto or a whole number from " +
                                             std::to_string(least) + " to " + std::to_string(most_tokens);
                                    })
                                    ->type_name(std::string(unit) + "|auto")
                                    ->default_str(std::to_string(size))
                                    ->group(group);
    follow_scheme_.emplace_back(option, is_automatic);
  };
  const char* tokens = "TOKENS";
  add_tile("--ffn-chunk", ffn_chunk, &Automatic::ffn_chunk, 1, tokens,
           "Tokens per feed-forward chunk, rounded up to a multiple of 256; at most a query tile, because the network "
           "runs on the tile. Less memory, same bits");
  add_tile("--query-tile", query_tile, &Automatic::query_tile, 1, tokens,
           "Tokens per tile of attention queries, rounded up to a multiple of 256. Less memory, same bits");
  add_tile("--key-tile", key_tile, &Automatic::key_tile, 1, tokens,
           "Tokens per tile of keys and values, rounded up to a multiple of 256. Same bits");
  app.add_option("--decode-frames", decode_frames,
                 "Latent frames (8 frames each) that pass through the video autoencoder and the upsampler at a "
                 "time. Same bits")
      ->check(CLI::Range(std::int64_t{1}, most_tokens))
      ->capture_default_str()
      ->group(group);
  add_tile("--decode-tile", decode_tile, &Automatic::decode_tile, 0, "CELLS",
           "Cells of 32 x 32 pixels, by as many, that the video decoder makes at a time; 0: whole frames. Less device "
           "memory, more work, same bits");
  follow_scheme_.emplace_back(
      app.add_option("--saved-prefix", saved_prefix,
                     "Where to keep what the first blocks leave for the perturbed pass of guidance: device, host, none "
                     "(compute them again), or auto. Same bits")
          ->check(CLI::IsMember({"device", "host", "none", "auto"}))
          ->capture_default_str()
          ->group(group),
      &Automatic::saved_prefix);
  follow_scheme_.emplace_back(
      app.add_option("--weights", weights,
                     "resident: used where the file is mapped (on a card: all in its memory); stream or stream:SLOTS: "
                     "a transformer block at a time travels through so many slots while the one before computes; auto: "
                     "resident on the CPU, else stream. Same bits")
          ->check([](const std::string& text) { return parse_weights(text) ? "" : "'" + text + weights_expected; })
          ->capture_default_str()
          ->group(group),
      &Automatic::weights);
  app.add_option("--resident-blocks", resident_blocks,
                 "With streamed weights, the first transformer blocks that stay on the device: a number, or auto: as "
                 "many as the budgets leave room for, none without --memory-budget. Same bits")
      ->check(expect_blocks)
      ->capture_default_str()
      ->type_name("BLOCKS|auto")
      ->group(group);
  app.add_option("--page-cache", page_cache,
                 "With streamed weights, how much of them the system's page cache keeps, the first blocks: the others "
                 "are read again in every pass and dropped after use. auto: what --host-budget leaves beside the job, "
                 "in a run by itself what the machine has; all where that is enough. Same bits")
      ->check([](const std::string& text) {
        if (text == "auto") return std::string();
        try {
          parse_bytes(text);
          return std::string();
        } catch (const ltxmem::ShapeError& error) {
          return std::string(error.what());
        }
      })
      ->capture_default_str()
      ->type_name("SIZE|auto")
      ->group(group);
  app.add_option("--store", store,
                 "Where goes what leaves the device (keys and values of E3, tokens of E4, the saved prefix, streamed "
                 "weights): host, or the memory of idle devices, over which it is spread in proportion to what they "
                 "have free. rank:1,2: the last of --ranks, which take no part in the transformer. cuda:1,2: other "
                 "cards of this machine beside --device cuda. What is free is --memory-budget of a rank, all that a "
                 "card has less 512 MiB, or stated: rank:1=8GiB,2=4GiB. Same bits")
      ->check([](const std::string& text) {
        try {
          return parse_stores(text) ? std::string() : "'" + text + store_expected;
        } catch (const ltxmem::ShapeError& error) {
          return std::string(error.what());
        }
      })
      ->type_name("host|rank:N,...|cuda:N,...")
      ->capture_default_str()
      ->group(group);
  app.add_option("--stored-blocks", stored_blocks,
                 "With --store and streamed weights, the first of the streamed transformer blocks that stay in the "
                 "stores, each spread over all of them: a number, or auto: as many as the rest leaves room for. They "
                 "are read once. Same bits")
      ->check(expect_blocks)
      ->capture_default_str()
      ->type_name("BLOCKS|auto")
      ->group(group);
  add_rank_options(app);
  const auto is_stated = [](const std::string& text) {
    return text.empty() ? std::string("'', expected a size, such as 8GiB") : std::string();
  };
  app.add_option("--memory-budget,--max-vram", memory_budget,
                 "Device memory that may be used: bytes, 8GiB, 80% or -1GiB of what is free. What does not fit is "
                 "refused before any work, exit code 3")
      ->check(is_stated)
      ->type_name("SIZE")
      ->group(group);
  app.add_option("--host-budget", host_budget, "The same for host memory")
      ->check(is_stated)
      ->type_name("SIZE")
      ->group(group);
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

void ExecutionOptions::add_rank_options(CLI::App& app) {
  const std::string group = "Ranks";
  app.add_option("--ranks", ranks,
                 "Ranks that share the transformer's work, in the way that --parallel says: threads of this process (a "
                 "plan: devices), or the processes that mpirun has started; with --device cuda each has a card of its "
                 "own, processes those of their machine. The same bits in every run with as many")
      ->check(CLI::Range(1, 1024))
      ->default_str("1")
      ->group(group);
  app.add_option(
         "--parallel", parallel,
         "What ranks share. sequence: the tokens; keys and values of the video go round, hidden behind the "
         "attention of long clips, and every rank brings all weights. tensor: heads and hidden channels; a rank "
         "has its part of the weights and all tokens, takes every scheme, and waits for sums behind every layer: "
         "for a few ranks on fast links, where weights are what takes long or does not fit. both: a grid, rows "
         "of the largest divisor of the ranks that is at most their square root share heads, columns tokens. "
         "none: nothing, there is one")
      ->check(CLI::IsMember(parallel_names()))
      ->capture_default_str()
      ->group(group);
  app.add_option("--ulysses-degree", ulysses_degree,
                 "How self attention gets at the tokens of other ranks. 1: keys and values go round, in a ring of all "
                 "that share tokens. As many as there are: they trade tokens for heads by all-to-all, which sends less "
                 "the more there are, and needs as many heads. A divisor between: rows of so many trade, keys and "
                 "values go round between rows. auto: the fastest by predicted time that fits")
      ->check([](const std::string& text) {
        return text == "auto" || parse_number(text, 1, 1024) ? std::string()
                                                             : "'" + text + "', expected auto or a number of ranks";
      })
      ->type_name("RANKS|auto")
      ->capture_default_str()
      ->group(group);
  app.add_option("--primary", primary,
                 "busy, or idle: rank 0 stays out of the transformer and holds text, latents and autoencoders")
      ->check(CLI::IsMember({"busy", "idle"}))
      ->capture_default_str()
      ->group(group);
  app.add_option("--rank-weights", rank_weights,
                 "Shares of the working ranks in proportion, for ranks of different speed or memory: 2,1,1. Of tokens "
                 "or heads; not with --parallel both")
      ->delimiter(',')
      ->type_name("WEIGHT,...")
      ->group(group);
  app.add_option("--deadline", deadline,
                 "Seconds after which a rank that waits in vain for another ends the run with an error that names it")
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str()
      ->group(group);
}

Settings ExecutionOptions::settings() const {
  Settings settings;
  settings.device = *parse_device(device);
  settings.dtype = dtype == "f32" ? ltxmem::DType::f32 : ltxmem::DType::bf16;
  settings.threads = thread_count(threads);
  settings.scheme = *find_scheme(scheme);
  settings.query_tile = ltxmem::round_up(query_tile, ltxmem::row_quantum);
  settings.ffn_chunk = std::min(ltxmem::round_up(ffn_chunk, ltxmem::row_quantum), settings.query_tile);
  settings.key_tile = ltxmem::round_up(key_tile, ltxmem::key_quantum);
  settings.decode_frames = decode_frames;
  settings.decode_tile = decode_tile;
  if (saved_prefix == "device") settings.saved_prefix = ltxmem::MemorySpace::device;
  if (saved_prefix == "host") settings.saved_prefix = ltxmem::MemorySpace::pinned;
  settings.weights = *parse_weights(weights);
  settings.weights.device_reads_files = settings.device.kind == ltxmem::DeviceKind::cpu;
  settings.weights.resident_blocks = parse_number(resident_blocks, 0, most_tokens).value_or(0);
  if (page_cache != "auto") settings.weights.page_cache_bytes = parse_bytes(page_cache);
  settings.verbose = verbose;
  const int count = ranks.value_or(1);
  ltxmem::expects(parallel != "none" || count == 1, "--ranks ", count, " with --parallel ", parallel, ", expected 1");
  settings.ranks.count = count;
  settings.ranks.layout = find_rank_layout(parallel).value_or(RankLayout::sequence);
  settings.ranks.idle_primary = primary == "idle";
  settings.ranks.ulysses_degree = static_cast<int>(parse_number(ulysses_degree, 1, 1024).value_or(1));
  settings.ranks.weights = rank_weights;
  settings.ranks.deadline = std::chrono::milliseconds(std::llround(deadline * 1000));
  settings.stores = *parse_stores(store);
  if (!settings.stores.empty() && settings.stores.front().kind == ltxmem::DeviceKind::cpu) {
    settings.ranks.stores = static_cast<int>(settings.stores.size());
    expect_stores(settings);
  }
  settings.weights.stored_blocks = parse_number(stored_blocks, 0, most_tokens).value_or(0);
  expect_workable(settings.ranks);
  return settings;
}

Automatic ExecutionOptions::automatic_for(std::int64_t blocks) const {
  Automatic result = automatic;
  result.weights = weights == "auto";
  result.saved_prefix = saved_prefix == "auto";
  result.ulysses_degree = ulysses_degree == "auto";
  if (automatic.scheme) {
    for (const auto& [option, setting] : follow_scheme_) {
      if (option->count() == 0) result.*setting = true;
    }
  }
  if (resident_blocks == "auto" && !memory_budget.empty()) result.resident_blocks = blocks;
  if (stored_blocks == "auto" && store != "host") result.stored_blocks = blocks;
  return result;
}

Settings ExecutionOptions::settings_to_run(Processes* processes) const {
  ExecutionOptions as_started = *this;
  if (processes != nullptr) {
    const int count = processes->size();
    ltxmem::expects(ranks.value_or(count) == count, "--ranks ", *ranks, ": started as ", count,
                    " processes, each of which is a rank");
    as_started.ranks = count;
  } else {
    constexpr int most = 64;
    ltxmem::expects(ranks.value_or(1) <= most, "--ranks ", *ranks,
                    ": ranks are threads of this process, expected at most ", most);
  }
  Settings settings = as_started.settings();
  settings.ranks.processes = processes;
  expect_stores(settings);
  expect_cards(settings);
  return settings;
}

}  // namespace ltx2
