// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "module.h"

#include <unistd.h>

#include "base/interrupt.h"
#include "device/device.h"
#include "device/queue.h"
#include "device/releaser.h"
#include "device/threads.h"

namespace {

/// For threads that let go of tensors, and so of Python objects. Were one to make a thread state each time, a fork
/// could catch it with the interpreter's list of them locked, for good in the child (CPython < 3.12).
void keep_thread_state() {
  PyGILState_Ensure();
  PyEval_SaveThread();
}

/// Signals are the main thread's.
void raise_signals() {
  if (::gettid() != ::getpid()) return;
  const pybind11::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.doc() = "The engine of pinnedpg and its two doors.";
  module.attr("built_for_torch") = PINNEDPG_TORCH_VERSION;
  module.def("built_with_cuda", &pinnedpg::built_with_cuda, "Whether the build has the CUDA plane.");
  module.def("cuda_device_count", &pinnedpg::cuda_device_count, "GPUs that are there: 0 without a driver.");
  module.def(
      "_retire_worker",
      [](double seconds) {
        const std::chrono::milliseconds grace(static_cast<int64_t>(seconds * 1000));
        pinnedpg::retire_worker(grace);
        pinnedpg::retire_spares(grace);
        pinnedpg::retire_releaser(grace);
      },
      pybind11::arg("seconds"), pybind11::call_guard<pybind11::gil_scoped_release>(),
      "Lets the threads of the package finish what they can in that time, then stops them for good.");
  pinnedpg::set_thread_start(keep_thread_state);
  pinnedpg::set_interrupt_check(raise_signals);
  pybind11::register_local_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const pinnedpg::Interrupted& interrupted) {
      std::rethrow_exception(interrupted.cause);
    }
  });
  pinnedpg::bind_c10d(module);
  pinnedpg::bind_tp(module);
  pinnedpg::bind_testing(module);
}
