// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "module.h"

#include "device/device.h"

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.doc() = "The engine of pinnedpg and its two doors.";
  module.attr("built_for_torch") = PINNEDPG_TORCH_VERSION;
  module.def("built_with_cuda", &pinnedpg::built_with_cuda, "Whether the build has the CUDA plane.");
  module.def("cuda_device_count", &pinnedpg::cuda_device_count, "GPUs that are there: 0 without a driver.");
  pinnedpg::bind_c10d(module);
#if __has_include("module_tp.cpp")
  pinnedpg::bind_tp(module);
#endif
  pinnedpg::bind_testing(module);
}
