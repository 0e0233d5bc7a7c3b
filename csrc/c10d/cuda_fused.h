// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "collective/fused_round.h"
#include "device/cuda_stream.h"

namespace pinnedpg {

/// The end of a small call: its kernel says itself that it is over.
class FusedEnd final : public CudaMark {
 public:
  /// Queued on that stream; `flag` lies in pinned memory.
  FusedEnd(std::shared_ptr<Flag> flag, uint32_t number, void* stream)
      : flag_(std::move(flag)), number_(number), stream_(stream) {}

  /// Raises ValueError where the stream is captured, and the call is not over.
  void hold(void* stream) const override;
  /// A GPU that has failed never tells.
  bool is_over() const override;

 private:
  const std::shared_ptr<Flag> flag_;
  const uint32_t number_;
  void* const stream_;
  mutable std::atomic<bool> over_{false};  ///< the flag may be far ahead when it is asked again
};

/// The small calls of a rank that has a GPU of its own: each is one kernel, on the stream of its caller. One thread at
/// a time, but for what watches: `is_late`, `check_gpu`.
class FusedCalls {
 public:
  /// Loads the kernels. Raises SystemError.
  FusedCalls(Communicator& communicator, int gpu);

  int gpu() const { return gpu_; }
  /// How much a rank moves in a call at most.
  size_t bytes() const { return communicator_.staging().geometry().fused_bytes; }
  std::optional<FusedRound> round_of(const Call& call) const {
    return fuse(call, communicator_.staging(), communicator_.first_rank());
  }

  /// Queues the round on the stream, behind the round before it, and returns its end.
  std::shared_ptr<CudaMark> queue(FusedRound& round, const Call& call, void* stream);
  /// Adds it to the graph that the stream is captured into. Nothing else is known of it: the ranks see on their GPUs
  /// whether their calls fit.
  void capture(FusedRound& round, const Call& call, void* stream);

  /// Whether nothing is queued any more, of what is not captured.
  bool is_idle() const { return !last_ || last_->is_over(); }
  /// Asks the GPU, by one thread at a time. Raises SystemError where it has failed.
  void check_gpu();
  /// Whether the rank has yet to make the call of that number, or begun fewer calls on its GPU than others have.
  bool is_late(int rank, uint64_t number) const;

 private:
  uint32_t begun(int rank) const;

  Communicator& communicator_;
  const int gpu_;
  FusedQueue queue_;
  const CudaStream idle_;
  CudaEvent asked_;
  const std::shared_ptr<Flag> flag_;
  uint32_t number_ = 0;  ///< of the last call
  std::shared_ptr<CudaMark> last_;
};

}  // namespace pinnedpg
