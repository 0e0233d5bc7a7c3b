// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What the Communicator does for calls that are queued ahead of the peers, on GPUs.
#include <thread>

#include "base/interrupt.h"
#include "base/log.h"
#include "collective/communicator.h"

namespace pinnedpg {

uint32_t Communicator::queue(Call& call, std::span<const Lanes> lanes) {
  announce(call);
  call.at = {.compared = true, .begun = true};
  advance(call, lanes);
  return got_step_;
}

uint32_t Communicator::announce(Call& call) {
  if (calls_ == 0) find_siblings();
  enter(call);
  return got_step_;
}

void Communicator::find_siblings() {
  const auto pid_of = [this](int rank) { return staging_.member(rank).process.pid; };
  for (int rank = 0; rank < staging_.geometry().world_size; ++rank) {
    if (!is_local(rank) && pid_of(rank) == pid_of(first_rank_)) siblings_.push_back(rank);
  }
}

/// A GPU has few queues for all the streams of a process. What waits at the head of one holds up all that was queued
/// there later, so nothing may wait that was queued before what it waits for.
void Communicator::await_issued(const std::vector<Flag*>& flags, uint32_t step) {
  for (const int rank : siblings_) {
    const auto is_late = [&](int one) { return one == rank && !flags[static_cast<size_t>(one)]->is_issued(step); };
    while (is_late(rank)) {
      watchdog_.look_for(is_late);
      check_interrupts();
      std::this_thread::yield();
    }
  }
}

/// A place is free once all have compared the call that used it last, and where GPUs read it (the factor), once those
/// have done that.
bool Communicator::needs_place(int rank, uint64_t number) const {
  if (number <= kQueuedCalls) return false;
  const Member& member = staging_.member(rank);
  const bool is_read = staging_.member(first_rank_).labels[number % kQueuedCalls].has_factor();
  return (is_read ? member.over : member.compared).load(std::memory_order_acquire) + kQueuedCalls < number;
}

void Communicator::await_place(const Call& call, uint64_t number) {
  watchdog_.begin(call.label.name(), call.timeout);
  const auto needs = [&](int rank) { return needs_place(rank, number); };
  const auto is_free = [&] {
    for (int rank = 0; rank < staging_.geometry().world_size; ++rank) {
      if (needs(rank)) return false;
    }
    return true;
  };
  // Whoever watches the calls may sleep, and then no peer goes on: so this thread compares too, as far as it can.
  if (number % (kQueuedCalls / 2) == 0) compare_queued(number - 1);
  while (!is_free()) {
    watchdog_.look_for(needs);
    check_interrupts();
    (void)compare_queued(number - 1);
    if (is_free()) return;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

void Communicator::enter(Call& call) {
  const uint64_t number = calls_ + 1;  // a call whose wait is broken off is none
  await_place(call, number);
  watchdog_.check_abort();
  call.label.number = calls_ = number;
  PINNEDPG_LOG(kTrace, kColl, watchdog_.name_of(first_rank_), ": call ", number, ", ", call.label.to_string());
  const size_t place = number % kQueuedCalls;
  for (int rank = first_rank_; rank < first_rank_ + local_count_; ++rank) {
    staging_.member(rank).labels[place] = call.label;
    staging_.member(rank).entered.store(number, std::memory_order_release);
  }
  find_factors(call.label, place);
}

bool Communicator::compare_queued(uint64_t number) {
  const int world_size = staging_.geometry().world_size;
  std::lock_guard lock(comparing_);
  for (uint64_t next = staging_.member(first_rank_).compared.load() + 1; next <= number; ++next) {
    for (int rank = 0; rank < world_size; ++rank) {
      if (staging_.member(rank).entered.load(std::memory_order_acquire) < next) return false;
    }
    const size_t place = next % kQueuedCalls;
    const uint64_t first = staging_.member(0).labels[place].fingerprint();
    for (int rank = 1; rank < world_size; ++rank) {
      if (staging_.member(rank).labels[place].fingerprint() != first) misfit(static_cast<size_t>(rank), place);
    }
    for (int rank = first_rank_; rank < first_rank_ + local_count_; ++rank) {
      staging_.member(rank).compared.store(next, std::memory_order_release);
    }
  }
  return true;
}

void Communicator::end_queued(uint64_t number) {
  for (int rank = first_rank_; rank < first_rank_ + local_count_; ++rank) {
    std::atomic<uint64_t>& over = staging_.member(rank).over;
    if (over.load() < number) over.store(number, std::memory_order_release);
  }
}

void Communicator::release_queued(uint32_t step) {
  constexpr uint32_t kFarAhead = 1U << 30;  // less than half the circle: ahead of every step that can be waited for
  for (const auto* flags : {&puts_, &gots_}) {
    for (Flag* flag : *flags) flag->step.store(step + kFarAhead);
  }
}

}  // namespace pinnedpg
