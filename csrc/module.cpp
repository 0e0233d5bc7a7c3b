// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "module.h"

#include "device/device.h"
#include "device/queue.h"

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.doc() = "The engine of pinnedpg and its two doors.";
  module.attr("built_for_torch") = PINNEDPG_TORCH_VERSION;
  module.def("built_with_cuda", &pinnedpg::built_with_cuda, "Whether the build has the CUDA plane.");
  module.def("cuda_device_count", &pinnedpg::cuda_device_count, "GPUs that are there: 0 without a driver.");
  module.def(
      "_retire_worker",
      [](double seconds) { pinnedpg::retire_worker(std::chrono::milliseconds(int64_t(seconds * 1000))); },
      pybind11::arg("seconds"), pybind11::call_guard<pybind11::gil_scoped_release>(),
      "Lets the worker thread finish what it can in that time, then stops it for good.");
  pinnedpg::bind_c10d(module);
  pinnedpg::bind_tp(module);
  pinnedpg::bind_testing(module);
}
