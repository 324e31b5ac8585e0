// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "transformer/transformer_model.hpp"

#include <optional>

#include "transformer/transformer.hpp"

namespace ltx2 {

class TransformerModel::Bound {
 public:
  Bound() = default;
  Bound(const Bound&) = delete;
  Bound& operator=(const Bound&) = delete;
  virtual ~Bound() = default;
  virtual Runtime::Plan plan(const TransformerInput& input, const TransformerOutput& output) const = 0;
  virtual void predict(const TransformerInput& input, const TransformerOutput& output) = 0;
};

template <class T>
class TransformerModel::BoundTo final : public Bound {
 public:
  BoundTo(Runtime& runtime, const Checkpoint& checkpoint, const TransformerConfig& config)
      : runtime_(runtime),
        config_(config),
        weights_(checkpoint, config, runtime.settings().weights),
        host_(weights_, config),
        dry_(weights_, config) {}

  Runtime::Plan plan(const TransformerInput& input, const TransformerOutput& output) const override {
    return runtime_.plan([&](PlanBackend& backend, ltxmem::Workspace& workspace) {
      Kept<PlanBackend> kept(backend, *this, input, workspace);
      pass(dry_, backend, kept, input, output, workspace);
    });
  }

  void predict(const TransformerInput& input, const TransformerOutput& output) override {
    const Runtime::Plan plan = this->plan(input, output);
    if (!workspace_ || !workspace_->holds(plan) || (kept_ && !kept_->fits(*this, input))) {
      forget();  // never both at once
      workspace_.emplace(runtime_, plan);
    }
    ltxmem::expects(!saves(input) || input.prefix.role != SharedPrefix::Role::resume || has_prefix_,
                    "transformer: no pass has saved the prefix");
    try {
      workspace_->run(plan, [&](HostBackend& backend, ltxmem::Workspace& workspace) {
        // Their memory is the bottom of the workspace and stays taken from call to call, read ahead across them.
        if (!kept_) kept_.emplace(backend, *this, input, workspace);
        pass(host_, backend, *kept_, input, output, workspace);
      });
      if (input.prefix.role == SharedPrefix::Role::save) has_prefix_ = true;
    } catch (...) {
      forget();
      throw;
    }
  }

 private:
  /// What stays from call to call: the weights on their way to a backend, and the prefix that passes share.
  template <class Backend>
  struct Kept {
    Kept(Backend& backend, const BoundTo& model, const TransformerInput& input, ltxmem::Workspace& workspace)
        : ends(backend, model.weights_.ends, model.options(model.weights_.ends), workspace),
          blocks(backend, model.weights_.blocks, model.options(model.weights_.blocks), workspace) {
      if (!model.saves(input)) return;
      const Settings& settings = model.runtime_.settings();
      prefix.emplace(backend, ltxmem::Extents<2>{tokens_of(input.video), model.config_.width()},
                     ltxmem::Extents<2>{tokens_of(input.audio), model.config_.audio_width()},
                     ltxmem::round_up(settings.query_tile, ltxmem::row_quantum), *settings.saved_prefix, workspace);
    }

    /// Whether it has the room for a prefix that the input asks for, no more and no less.
    bool fits(const BoundTo& model, const TransformerInput& input) const {
      if (!prefix || !model.saves(input)) return prefix.has_value() == model.saves(input);
      return prefix->video_tokens() == tokens_of(input.video) && prefix->audio_tokens() == tokens_of(input.audio);
    }

    BlockStream<Backend> ends;
    BlockStream<Backend> blocks;
    std::optional<SavedPrefix<T, Backend>> prefix;
  };

  static std::int64_t tokens_of(const std::optional<StreamInput>& stream) { return stream ? stream->tokens() : 0; }

  bool saves(const TransformerInput& input) const {
    return runtime_.settings().saved_prefix.has_value() && input.prefix.blocks > 0;
  }

  ltxmem::WeightStreamOptions options(const ModelBlocks& blocks) const {
    ltxmem::WeightStreamOptions options = blocks.options();
    options.warm = true;  // a plan is that of one call among many
    options.stop = runtime_.stop();
    return options;
  }

  template <class Backend>
  void pass(const Transformer<T, Backend>& transformer, Backend& backend, Kept<Backend>& kept,
            const TransformerInput& input, const TransformerOutput& output, ltxmem::Workspace& workspace) const {
    const Settings& settings = runtime_.settings();
    const Tiles tiles{settings.query_tile, settings.key_tile, settings.ffn_chunk};
    transformer(backend, kept.ends, kept.blocks, kept.prefix ? &*kept.prefix : nullptr, input, output, settings.scheme,
                tiles, workspace);
  }

  void forget() noexcept {
    kept_.reset();
    workspace_.reset();
    has_prefix_ = false;
  }

  Runtime& runtime_;
  TransformerConfig config_;
  TransformerWeights weights_;
  Transformer<T, HostBackend> host_;
  Transformer<T, PlanBackend> dry_;
  std::optional<PlannedWorkspace> workspace_;
  std::optional<Kept<HostBackend>> kept_;  // goes before its memory
  bool has_prefix_ = false;
};

TransformerModel::TransformerModel(Runtime& runtime, const Checkpoint& checkpoint)
    : TransformerModel(runtime, checkpoint, [&] {
        ltxmem::expects<ltxmem::IoError>(checkpoint.config().transformer.has_value(), checkpoint.tensors().name(),
                                         ": no configuration of a transformer");
        return *checkpoint.config().transformer;
      }()) {}

TransformerModel::TransformerModel(Runtime& runtime, const Checkpoint& checkpoint, const TransformerConfig& config)
    : bound_(runtime.with_element([&]<class T>() -> std::unique_ptr<Bound> {
        return std::make_unique<BoundTo<T>>(runtime, checkpoint, config);
      })) {}

TransformerModel::~TransformerModel() = default;

void TransformerModel::predict(const TransformerInput& input, const TransformerOutput& output) {
  bound_->predict(input, output);
}

Runtime::Plan TransformerModel::plan(const TransformerInput& input, const TransformerOutput& output) const {
  return bound_->plan(input, output);
}

}  // namespace ltx2
