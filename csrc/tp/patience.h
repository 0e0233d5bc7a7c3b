// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>

#include "base/interrupt.h"

namespace pinnedpg::tp {

/// How long a thread of the caller's is willing to be held.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;

  /// No time-out: for ever.
  explicit Patience(std::optional<std::chrono::milliseconds> timeout = {}) : began_(Clock::now()), timeout_(timeout) {}

  /// Waits until `ready` (asked under the lock) is true; false: the time is over and it is not.
  template <typename Ready>
  bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Ready ready) const {
    while (!ready()) {
      const auto left = timeout_ ? began_ + *timeout_ - Clock::now() : kLookEvery;
      if (left <= Clock::duration::zero()) return false;
      changed.wait_for(lock, std::min<Clock::duration>(left, kLookEvery));
      if (ready()) return true;
      lock.unlock();
      check_interrupts();
      lock.lock();
    }
    return true;
  }

  double seconds_waited() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }

 private:
  static constexpr Clock::duration kLookEvery = std::chrono::milliseconds(50);

  const Clock::time_point began_;
  const std::optional<std::chrono::milliseconds> timeout_;
};

}  // namespace pinnedpg::tp
