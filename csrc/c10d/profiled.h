// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <ATen/record_function.h>

#include <optional>
#include <vector>

namespace pinnedpg {

/// Records a call for torch's profilers during this object's lifetime: on the calling thread, until the call returns. A
/// Work may complete on another thread, after the profiler that recorded its start has been destroyed.
class Profiled {
 public:
  /// Records only if a profiler is active, since recording allocates.
  Profiled(const char* title, const std::vector<at::Tensor>& inputs) {
    if (at::hasCallbacks()) begin(title, inputs);
  }

 private:
  void begin(const char* title, const std::vector<at::Tensor>& inputs);

  std::vector<c10::IValue> inputs_;  ///< callbacks may read these until the record ends
  std::optional<at::RecordFunction> record_;
};

}  // namespace pinnedpg
