// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include "device/stage_copy.h"
#include "device/stream.h"
#include "device/wait_policy.h"
#include "memory/bell.h"

namespace pinnedpg {

/// The host as a device: each verb is done by the calling thread before it returns. It holds no work, so one
/// object serves any number of calls of a group, one after the other; all that it remembers is how fast copies were.
class HostStream final : public Stream {
 public:
  /// How long a sleeper goes without a look at its peers' lives. A killed peer is noticed within twice this.
  static constexpr int kPatrolMilliseconds = 50;

  enum class Mode {
    kBlock,  ///< `wait` returns when the flags are there
    kPoll,   ///< `wait` looks once and returns at once: for a worker that has other queues to drive
  };

  HostStream(Mode mode, Bell& bell, Guard& guard, WaitPolicy policy)
      : mode_(mode), bell_(bell), guard_(guard), policy_(policy) {}

  void copy(const Region& dst, const Region& src, Toward toward) override;
  void reduce(const Region& dst, std::span<const Region> srcs, Reduction reduction,
              std::span<const double* const> factors) override;
  void arrive(Flag& flag, uint32_t step) override;
  bool wait(std::span<Flag* const> flags, uint32_t step) override;

  /// Sleeps until a rank of the group has arrived, or a moment is over; not at all when the flags are there.
  void sleep(std::span<Flag* const> flags, uint32_t step, int milliseconds = kPatrolMilliseconds);

  /// After a `wait` that found its flags missing: sleeps until they may be there, or a millisecond is over.
  void doze() { sleep(missing_, missing_step_, 1); }
  /// From another thread: ends a sleep.
  void rouse() { bell_.ring(); }

 private:
  void block(std::span<Flag* const> flags, uint32_t step);

  const Mode mode_;
  Bell& bell_;
  Guard& guard_;
  const WaitPolicy policy_;
  StageCopy stage_;
  std::span<Flag* const> missing_;  ///< what the last `wait` that was polled did not find
  uint32_t missing_step_ = 0;
};

}  // namespace pinnedpg
