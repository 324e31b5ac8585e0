// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "transformer/transformer_model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/rank_workspaces.hpp"
#include "transformer/process_tensors.hpp"
#include "transformer/transformer.hpp"

namespace ltx2 {

class TransformerModel::Bound {
 public:
  Bound() = default;
  Bound(const Bound&) = delete;
  Bound& operator=(const Bound&) = delete;
  virtual ~Bound() = default;
  virtual std::vector<Runtime::Plan> plan(const TransformerInput& input, const TransformerOutput& output) const = 0;
  virtual void predict(const TransformerInput& input, const TransformerOutput& output) = 0;
};

template <class T, class Backend>
class TransformerModel::BoundTo final : public Bound {
 public:
  BoundTo(Runtime& runtime, const Checkpoint& checkpoint, const TransformerConfig& config)
      : runtime_(runtime),
        config_(config),
        heads_(share(config.heads, runtime.settings().ranks.sharing_heads())),
        weights_(checkpoint, config, runtime.settings().weights, heads_),
        transformer_(weights_, config),
        dry_(weights_, config),
        kept_(static_cast<std::size_t>(runtime.settings().ranks.working())) {}

  std::vector<Runtime::Plan> plan(const TransformerInput& input, const TransformerOutput& output) const override {
    std::vector<std::int64_t> shapes = shapes_of(input, output);
    auto known = plans_.find(shapes);
    if (known == plans_.end()) known = plans_.emplace(std::move(shapes), plan_anew(input, output)).first;
    return known->second;
  }

  void predict(const TransformerInput& input, const TransformerOutput& output) override {
    const std::vector<Runtime::Plan> plans = plan(input, output);
    const Shares shares = shares_of(input);
    if (!workspaces_ || !workspaces_->holds(plans) || !keeps_room_for(input, shares)) {
      forget();  // never both at once
      workspaces_.emplace(runtime_, plans);
    }
    ltxmem::expects(!saves(input) || input.prefix.role != SharedPrefix::Role::resume || has_prefix_,
                    "transformer: no pass has saved the prefix");
    Processes* processes = runtime_.is_plan() ? nullptr : runtime_.settings().ranks.processes;
    try {
      if (processes != nullptr) share_inputs(runtime_.backend(), *processes, input);
      const auto body = [&]<class Ranks>(RankPlace<Ranks> place, Backend& backend, ltxmem::Workspace& workspace) {
        // Their memory is the bottom of the workspace and stays taken from call to call, read ahead across them.
        std::unique_ptr<Kept<Backend>>& kept = kept_[static_cast<std::size_t>(place.index)];
        if (!kept) {
          kept = std::make_unique<Kept<Backend>>(backend, *this, place, input, shares, workspace);
        }
        pass(transformer_, backend, place, shares, *kept, input, output, workspace);
      };
      workspaces_->run(plans, body);
      if (processes != nullptr) {
        gather_outputs(runtime_.backend(), *processes, written_rows(shares.video), written_rows(shares.audio), output);
      }
      if (input.prefix.role == SharedPrefix::Role::save) has_prefix_ = true;
    } catch (...) {
      forget();
      throw;
    }
  }

 private:
  /// Who of those that share the tokens has which.
  struct Shares {
    ltxmem::Partition video;
    ltxmem::Partition audio;
  };

  /// What stays on a rank from call to call: the weights on their way to its backend, and the prefix that passes share.
  template <class Executor>
  struct Kept {
    template <class Ranks>
    Kept(Executor& backend, const BoundTo& model, const RankPlace<Ranks>& place, const TransformerInput& input,
         const Shares& shares, ltxmem::Workspace& workspace)
        : Kept(backend, model, model.weights_.blocks(place.heads.rank()), input, shares, place.tokens.rank(),
               workspace) {}

    Kept(Executor& backend, const BoundTo& model, const ModelBlocks& own_blocks, const TransformerInput& input,
         const Shares& shares, int rank, ltxmem::Workspace& workspace)
        : ends(backend, model.weights_.ends, model.options(model.weights_.ends), workspace),
          blocks(backend, own_blocks, model.options(own_blocks), workspace) {
      if (!model.saves(input)) return;
      const Settings& settings = model.runtime_.settings();
      prefix.emplace(backend, ltxmem::Extents<2>{shares.video.count(rank), model.config_.width()},
                     ltxmem::Extents<2>{shares.audio.count(rank), model.config_.audio_width()},
                     ltxmem::round_up(settings.query_tile, ltxmem::row_quantum), *settings.saved_prefix, workspace);
    }

    /// Whether it has the room for a prefix that the input asks for, no more and no less.
    bool fits(const BoundTo& model, const TransformerInput& input, const Shares& shares, int rank) const {
      if (!prefix || !model.saves(input)) return prefix.has_value() == model.saves(input);
      return prefix->video_tokens() == shares.video.count(rank) && prefix->audio_tokens() == shares.audio.count(rank);
    }

    BlockStream<Executor> ends;
    BlockStream<Executor> blocks;
    std::optional<SavedPrefix<T, Executor>> prefix;
  };

  std::vector<Runtime::Plan> plan_anew(const TransformerInput& input, const TransformerOutput& output) const {
    const Shares shares = shares_of(input);
    return RankWorkspaces<Backend>::plan(
        runtime_, [&](int index) { return kind_of(index, shares); },
        [&](RankPlace<PlanRanks> place, PlanBackend& backend, ltxmem::Workspace& workspace) {
          Kept<PlanBackend> kept(backend, *this, place, input, shares, workspace);
          pass(dry_, backend, place, shares, kept, input, output, workspace);
        });
  }

  /// All of a call that its plan depends on: what there is and how much of it, but no value.
  static std::vector<std::int64_t> shapes_of(const TransformerInput& input, const TransformerOutput& output) {
    std::vector<std::int64_t> shapes{input.prefix.blocks, static_cast<std::int64_t>(input.prefix.role)};
    const auto add = [&]<std::size_t rank>(const ltxmem::Extents<rank>& extents) {
      shapes.insert(shapes.end(), extents.begin(), extents.end());
    };
    for (const std::optional<StreamInput>* stream : {&input.video, &input.audio}) {
      shapes.push_back(stream->has_value() ? 1 : 0);
      if (!stream->has_value()) continue;
      const StreamInput& given = **stream;
      add(given.latent.extents());
      add(given.timestep_index.extents());
      add(given.context.extents());
      add(given.attention_mask.extents());
      add(ltxmem::Extents<2>{static_cast<std::int64_t>(given.timesteps.size()), given.enabled ? 1 : 0});
      if (given.positions == nullptr) continue;
      add(ltxmem::Extents<2>{given.positions->tokens(), given.positions->axes()});
      for (const auto& axis : given.positions->midpoints) shapes.push_back(static_cast<std::int64_t>(axis.size()));
    }
    for (const BlockSkips& skips : input.skips) {
      shapes.push_back((skips.video_self ? 1 : 0) + (skips.audio_self ? 2 : 0) + (skips.audio_to_video ? 4 : 0) +
                       (skips.video_to_audio ? 8 : 0));
    }
    add(output.video.extents());
    add(output.audio.extents());
    return shapes;
  }

  static std::int64_t tokens_of(const std::optional<StreamInput>& stream) { return stream ? stream->tokens() : 0; }

  bool saves(const TransformerInput& input) const {
    return runtime_.settings().saved_prefix.has_value() && input.prefix.blocks > 0;
  }

  /// Of tokens or heads among those that share them; weights are of the one that all ranks share.
  ltxmem::Partition share(std::int64_t total, int among) const {
    const RankSettings& ranks = runtime_.settings().ranks;
    const bool is_weighted = !ranks.weights.empty() && among == ranks.working();
    return is_weighted ? ltxmem::Partition::weighted(total, ranks.weights) : ltxmem::Partition::even(total, among);
  }

  Shares shares_of(const TransformerInput& input) const {
    const int among = runtime_.settings().ranks.sharing_tokens();
    return {share(tokens_of(input.video), among), share(tokens_of(input.audio), among)};
  }

  /// Which rows of a modality's velocities each working rank writes: the first of those that share its heads.
  ltxmem::Partition written_rows(const ltxmem::Partition& shares) const {
    const RankSettings& ranks = runtime_.settings().ranks;
    std::vector<std::int64_t> counts(static_cast<std::size_t>(ranks.working()), 0);
    for (int row = 0; row < shares.ranks(); ++row) {
      counts[static_cast<std::size_t>(row * ranks.sharing_heads())] = shares.count(row);
    }
    return ltxmem::Partition::of_counts(counts);
  }

  /// All that tells the plan of one rank from that of another: its share and those of the row that it trades tokens for
  /// heads with, that row's and its neighbour's, the shards that pass through its two slots, its share of the audio,
  /// and which of those that share its heads it is.
  std::vector<std::int64_t> kind_of(int index, const Shares& shares) const {
    const ltxmem::Partition& video = shares.video;
    const int rank = index / heads_.ranks();
    const int traders = runtime_.settings().ranks.ulysses_degree;
    const ltxmem::Partition rows = video.grouped(traders);
    const int row = rank / traders;
    std::array<std::int64_t, 2> slots{};
    for (int hop = 0; hop < rows.ranks(); ++hop) {
      std::int64_t& slot = slots[static_cast<std::size_t>(hop % 2)];
      slot = std::max(slot, rows.count((row - hop + rows.ranks()) % rows.ranks()));
    }
    const int trader = rank % traders;
    const bool have_alike = heads_.count(index % heads_.ranks()) % traders == 0;
    std::vector<std::int64_t> kind{video.count(rank),
                                   rows.count(row),
                                   rows.count((row + 1) % rows.ranks()),
                                   slots[0],
                                   slots[1],
                                   shares.audio.count(rank),
                                   index % heads_.ranks(),
                                   have_alike ? 0 : trader};
    const std::size_t known = kind.size();
    for (int other = 0; other < traders; ++other) kind.push_back(video.count(row * traders + other));
    // Who has as many heads as the others does not mind which of them has how many tokens.
    if (have_alike) std::sort(kind.begin() + static_cast<std::ptrdiff_t>(known), kind.end());
    return kind;
  }

  bool keeps_room_for(const TransformerInput& input, const Shares& shares) const {
    for (std::size_t index = 0; index < kept_.size(); ++index) {
      const int rank = static_cast<int>(index) / heads_.ranks();
      if (kept_[index] && !kept_[index]->fits(*this, input, shares, rank)) return false;
    }
    return true;
  }

  ltxmem::WeightStreamOptions options(const ModelBlocks& blocks) const {
    ltxmem::WeightStreamOptions options = blocks.options(runtime_.stop());
    options.warm = true;  // a plan is that of one call among many
    return options;
  }

  template <class Executor, class Ranks>
  void pass(const Transformer<T, Executor>& transformer, Executor& backend, RankPlace<Ranks> place,
            const Shares& shares, Kept<Executor>& kept, const TransformerInput& input, TransformerOutput output,
            ltxmem::Workspace& workspace) const {
    const Settings& settings = runtime_.settings();
    const Tiles tiles{settings.query_tile, settings.key_tile, settings.ffn_chunk};
    // What several ranks have, one gives.
    if (place.heads.rank() > 0) output = {};
    TokenShares<Ranks> tokens{place.tokens, place.traders, place.ring, shares.video, shares.audio};
    transformer(backend, tokens, {place.heads, heads_}, kept.ends, kept.blocks, kept.prefix ? &*kept.prefix : nullptr,
                input, output, settings.scheme, tiles, workspace);
  }

  void forget() noexcept {
    for (auto& kept : kept_) kept.reset();
    workspaces_.reset();
    has_prefix_ = false;
  }

  Runtime& runtime_;
  TransformerConfig config_;
  ltxmem::Partition heads_;  ///< among the ranks that share them
  TransformerWeights weights_;
  Transformer<T, Backend> transformer_;
  Transformer<T, PlanBackend> dry_;
  std::optional<RankWorkspaces<Backend>> workspaces_;
  std::vector<std::unique_ptr<Kept<Backend>>> kept_;  // by working rank; go before their memory
  bool has_prefix_ = false;
  mutable std::map<std::vector<std::int64_t>, std::vector<Runtime::Plan>> plans_;  ///< by shapes_of
};

TransformerModel::TransformerModel(Runtime& runtime, const Checkpoint& checkpoint)
    : TransformerModel(runtime, checkpoint, [&] {
        ltxmem::expects<ltxmem::IoError>(checkpoint.config().transformer.has_value(), checkpoint.tensors().name(),
                                         ": no configuration of a transformer");
        return *checkpoint.config().transformer;
      }()) {}

TransformerModel::TransformerModel(Runtime& runtime, const Checkpoint& checkpoint, const TransformerConfig& config)
    : bound_(runtime.with_element([&]<class T>() {
        return runtime.with_backend([&]<class Backend>(Backend&) -> std::unique_ptr<Bound> {
          return std::make_unique<BoundTo<T, Backend>>(runtime, checkpoint, config);
        });
      })) {}

TransformerModel::~TransformerModel() = default;

void TransformerModel::predict(const TransformerInput& input, const TransformerOutput& output) {
  bound_->predict(input, output);
}

Runtime::Plan TransformerModel::plan(const TransformerInput& input, const TransformerOutput& output) const {
  return bound_->plan(input, output).front();
}

}  // namespace ltx2
