// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <ATen/record_function.h>

#include <optional>
#include <vector>

namespace pinnedpg {

/// Shows torch's profilers a call while this lives, which is on the thread of its caller and until the call returns: a
/// work may end after the profiler that saw it begin, on a thread that the profiler knows nothing of.
class Profiled {
 public:
  /// Asks torch to record only where someone listens: that allocates.
  Profiled(const char* title, const std::vector<at::Tensor>& inputs) {
    if (at::hasCallbacks()) begin(title, inputs);
  }

 private:
  void begin(const char* title, const std::vector<at::Tensor>& inputs);

  std::vector<c10::IValue> inputs_;  ///< listeners see these until the end
  std::optional<at::RecordFunction> record_;
};

}  // namespace pinnedpg
