// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0

#include "doubles/nvtx.hpp"

#include <utility>

#include <nvtx3/nvToolsExt.h>

namespace {

std::string ranges;

int push(const char* name) {
  ranges += name;
  ranges += '(';
  return 0;
}

int pop() {
  ranges += ')';
  return 0;
}

}  // namespace

namespace ltxmem::double_nvtx {

std::string take_ranges() {
  return std::exchange(ranges, {});
}

}  // namespace ltxmem::double_nvtx

/// What NVTX calls in the library that it loaded.
extern "C" int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t export_table) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(export_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned count = 0;
  if (callbacks == nullptr || callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &table, &count) == 0) return 0;
  *table[NVTX_CBID_CORE_RangePushA] = reinterpret_cast<NvtxFunctionPointer>(&push);
  *table[NVTX_CBID_CORE_RangePop] = reinterpret_cast<NvtxFunctionPointer>(&pop);
  return 1;
}
