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
        weights_(checkpoint, config, runtime.settings().weights),
        host_(weights_, config),
        dry_(weights_, config) {}

  Runtime::Plan plan(const TransformerInput& input, const TransformerOutput& output) const override {
    return runtime_.plan([&](PlanBackend& backend, ltxmem::Workspace& workspace) {
      Streams<PlanBackend> streams(backend, *this, workspace);
      pass(dry_, backend, streams, input, output, workspace);
    });
  }

  void predict(const TransformerInput& input, const TransformerOutput& output) override {
    const Runtime::Plan plan = this->plan(input, output);
    if (!workspace_ || !workspace_->holds(plan)) {
      forget();  // never both at once
      workspace_.emplace(runtime_, plan);
    }
    try {
      workspace_->run(plan, [&](HostBackend& backend, ltxmem::Workspace& workspace) {
        // Their memory is the bottom of the workspace and stays taken from call to call, read ahead across them.
        if (!streams_) streams_.emplace(backend, *this, workspace);
        pass(host_, backend, *streams_, input, output, workspace);
      });
    } catch (...) {
      forget();
      throw;
    }
  }

 private:
  /// The weights on their way to a backend.
  template <class Backend>
  struct Streams {
    Streams(Backend& backend, const BoundTo& model, ltxmem::Workspace& workspace)
        : ends(backend, model.weights_.ends, model.options(model.weights_.ends), workspace),
          blocks(backend, model.weights_.blocks, model.options(model.weights_.blocks), workspace) {}

    BlockStream<Backend> ends;
    BlockStream<Backend> blocks;
  };

  ltxmem::WeightStreamOptions options(const ModelBlocks& blocks) const {
    ltxmem::WeightStreamOptions options = blocks.options();
    options.warm = true;  // a plan is that of one call among many
    options.stop = runtime_.stop();
    return options;
  }

  template <class Backend>
  void pass(const Transformer<T, Backend>& transformer, Backend& backend, Streams<Backend>& streams,
            const TransformerInput& input, const TransformerOutput& output, ltxmem::Workspace& workspace) const {
    const Settings& settings = runtime_.settings();
    const Tiles tiles{settings.query_tile, settings.key_tile, settings.ffn_chunk};
    transformer(backend, streams.ends, streams.blocks, input, output, settings.scheme, tiles, workspace);
  }

  void forget() noexcept {
    streams_.reset();
    workspace_.reset();
  }

  Runtime& runtime_;
  TransformerWeights weights_;
  Transformer<T, HostBackend> host_;
  Transformer<T, PlanBackend> dry_;
  std::optional<PlannedWorkspace> workspace_;
  std::optional<Streams<HostBackend>> streams_;  // goes before its memory
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
