// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <memory>

#include "device/cuda_stream.h"
#include "memory/flag.h"

namespace pinnedpg {

/// The end of something that a GPU does, which the GPU tells in memory that the host sees. Who looks makes no call of
/// CUDA's: such a call has to wait where another thread loads a kernel, and that thread for all that is queued.
class CudaEnd final : public CudaMark {
 public:
  /// Once the flag has reached that number, which it does by work on that stream. `flag` lies in pinned memory, and is
  /// never put back.
  CudaEnd(std::shared_ptr<Flag> flag, uint32_t number, void* stream)
      : flag_(std::move(flag)), number_(number), stream_(stream) {}

  /// Raises ValueError where the stream is captured, and the work is not over.
  void hold(void* stream) const override;
  /// A GPU that has failed never tells.
  bool is_over() const override;

 private:
  const std::shared_ptr<Flag> flag_;
  const uint32_t number_;
  void* const stream_;
  mutable std::atomic<bool> over_{false};  ///< the flag may be far ahead when it is asked again
};

}  // namespace pinnedpg
