// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "collective/fused_round.h"
#include "device/cuda_end.h"

namespace pinnedpg {

/// The small calls of a rank that has a GPU of its own: each is one kernel, on the stream of its caller. One thread at
/// a time, but for what watches: `is_late`.
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

  /// Queues the round on the stream, behind the round before it, and what `after` queues there. Returns the end of
  /// both: a kernel says itself that it is over.
  std::shared_ptr<CudaMark> queue(FusedRound& round, const Call& call, void* stream,
                                  const std::function<void()>& after = {});
  /// Adds it to the graph that the stream is captured into. Nothing else is known of it: the ranks see on their GPUs
  /// whether their calls fit.
  void capture(FusedRound& round, const Call& call, void* stream);

  /// Whether nothing is queued any more, of what is not captured.
  bool is_idle() const { return !last_ || last_->is_over(); }
  /// Whether the rank has yet to make the call of that number, or begun fewer calls on its GPU than others have.
  bool is_late(int rank, uint64_t number) const;

 private:
  uint32_t begun(int rank) const;

  Communicator& communicator_;
  const int gpu_;
  FusedQueue queue_;
  const std::shared_ptr<Flag> flag_;
  uint32_t number_ = 0;  ///< of the last end
  std::shared_ptr<CudaMark> last_;
};

}  // namespace pinnedpg
