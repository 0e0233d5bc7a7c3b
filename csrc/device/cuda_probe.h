// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <chrono>
#include <future>
#include <memory>

namespace pinnedpg {

/// Tells whether a GPU has failed, which then never says that anything is over.
class CudaProbe {
 public:
  /// Makes no call of CUDA's.
  explicit CudaProbe(int gpu);

  /// Has somebody else ask now and then, and never blocks; one thread at a time. Raises SystemError where the GPU had
  /// failed when it was last asked.
  void look();
  /// Asks at once, in any thread. Raises SystemError.
  void ask() const;

 private:
  struct Question;
  const std::shared_ptr<Question> question_;
  std::future<void> answer_;
  std::chrono::steady_clock::time_point asked_ = std::chrono::steady_clock::now();
};

}  // namespace pinnedpg
