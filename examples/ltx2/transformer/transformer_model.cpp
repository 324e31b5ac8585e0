// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "transformer/transformer_model.hpp"

#include <optional>
#include <type_traits>

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
      : runtime_(runtime), host_(checkpoint, config), dry_(checkpoint, config) {}

  Runtime::Plan plan(const TransformerInput& input, const TransformerOutput& output) const override {
    return runtime_.plan(body(input, output));
  }

  void predict(const TransformerInput& input, const TransformerOutput& output) override {
    const Runtime::Plan plan = this->plan(input, output);
    if (!workspace_ || !workspace_->holds(plan)) {
      workspace_.reset();  // never both at once
      workspace_.emplace(runtime_, plan);
    }
    workspace_->run(plan, body(input, output));
  }

 private:
  auto body(const TransformerInput& input, const TransformerOutput& output) const {
    return [&](auto& backend, ltxmem::Workspace& workspace) {
      const Settings& settings = runtime_.settings();
      const Tiles tiles{settings.query_tile, settings.key_tile, settings.ffn_chunk};
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(backend)>, PlanBackend>) {
        dry_(backend, input, output, settings.scheme, tiles, workspace);
      } else {
        host_(backend, input, output, settings.scheme, tiles, workspace);
      }
    };
  }

  Runtime& runtime_;
  Transformer<T, HostBackend> host_;
  Transformer<T, PlanBackend> dry_;
  std::optional<PlannedWorkspace> workspace_;
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
