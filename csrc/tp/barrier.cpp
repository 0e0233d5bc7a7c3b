// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/barrier.h"

#include "base/check.h"

namespace pinnedpg::tp {

void Barrier::arrive_and_wait(const Patience& patience) {
  std::unique_lock lock(mutex_);
  const std::shared_ptr<Meeting> meeting = meeting_;
  const auto broken = [&] {
    return GroupError(concat("Barrier: it is broken (", meeting->arrived, " of ", meeting->expected,
                             " threads came in time). reset() begins anew"));
  };
  if (meeting->broken) throw broken();
  ++meeting->arrived;
  if (meeting->met()) {
    meeting_ = std::make_shared<Meeting>(Meeting{meeting->expected});
    changed_.notify_all();
    return;
  }
  bool in_time = false;
  try {
    in_time = patience.wait(lock, changed_, [&] { return meeting->met() || meeting->broken; });
  } catch (...) {  // the thread was interrupted, without the lock: the meeting cannot take place any more
    lock.lock();
    meeting->broken = !meeting->met();
    changed_.notify_all();
    throw;
  }
  if (meeting->met()) return;
  if (in_time) throw broken();
  meeting->broken = true;
  changed_.notify_all();
  throw GroupError(concat("Barrier: all ", meeting->expected, " threads must come; got ", meeting->arrived, " after ",
                          patience.seconds_waited(), " s"));
}

void Barrier::reset(int num_threads) {
  PINNEDPG_CHECK(num_threads >= 1, "Barrier: num_threads must be at least 1; got ", num_threads);
  std::lock_guard lock(mutex_);
  if (meeting_ != nullptr) meeting_->broken = true;
  meeting_ = std::make_shared<Meeting>(Meeting{num_threads});
  changed_.notify_all();
}

}  // namespace pinnedpg::tp
