// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>

namespace pinnedpg::tp {

/// How long a thread of the caller's is willing to be held, and what it looks at meanwhile.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;

  /// No time-out: for ever. `look` is called now and then without a lock; it may raise, which ends the wait (Python's
  /// signals).
  explicit Patience(std::optional<std::chrono::milliseconds> timeout = {}, std::function<void()> look = {})
      : began_(Clock::now()), timeout_(timeout), look_(std::move(look)) {}

  /// Waits until `ready` (asked under the lock) is true; false: the time is over and it is not.
  template <typename Ready>
  bool wait(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, Ready ready) const {
    while (!ready()) {
      const auto left = timeout_ ? began_ + *timeout_ - Clock::now() : kLookEvery;
      if (left <= Clock::duration::zero()) return false;
      changed.wait_for(lock, std::min<Clock::duration>(left, kLookEvery));
      if (!look_ || ready()) continue;
      lock.unlock();
      look_();
      lock.lock();
    }
    return true;
  }

  double seconds_waited() const { return std::chrono::duration<double>(Clock::now() - began_).count(); }

 private:
  static constexpr Clock::duration kLookEvery = std::chrono::milliseconds(50);

  const Clock::time_point began_;
  const std::optional<std::chrono::milliseconds> timeout_;
  const std::function<void()> look_;
};

}  // namespace pinnedpg::tp
