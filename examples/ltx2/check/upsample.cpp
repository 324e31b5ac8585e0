// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "check/case.hpp"
#include "upsampler/upsampler.hpp"

namespace ltx2 {

HostTensors run_upsample_case(const Case& test, CaseModels& models, Runtime& runtime) {
  const Checkpoint& model = models.model_of(test);
  const Checkpoint& upsampler = models.open(test.options.at("upsampler").get<std::string>());
  const HostTensor latent = permuted(test.input("latent"), {0, 2, 3, 4, 1});
  const std::vector<std::int64_t>& n = latent.shape;
  const ltxmem::Extents<4> low{n.at(1), n.at(2), n.at(3), n.at(4)};
  const ltxmem::Extents<4> high = upsampled_extents(upsampler, low);
  HostTensor upsampled = HostTensor::zeros({1, high[0], high[1], high[2], high[3]});
  upsample_latent(runtime, model, upsampler, latent.view<4>(low), upsampled.view<4>(high));
  return {{"latent", permuted(upsampled, {0, 4, 1, 2, 3})}};
}

}  // namespace ltx2
