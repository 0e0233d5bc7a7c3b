// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "tp/patience.h"

namespace pinnedpg::tp {

/// Where host threads meet: each is held until all have come. Any number of times, one after the other.
class Barrier {
 public:
  explicit Barrier(int num_threads) { reset(num_threads); }

  /// Raises GroupError when the others do not come in time. The barrier is broken then: who waits there, and who comes
  /// later, raises as well, until `reset`.
  void arrive_and_wait(const Patience& patience);

  /// Begins anew for that many threads; those that wait here raise.
  void reset(int num_threads);

 private:
  struct Meeting {
    int expected;
    int arrived = 0;
    bool broken = false;
    bool met() const { return arrived == expected; }
  };

  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Meeting> meeting_;
};

}  // namespace pinnedpg::tp
