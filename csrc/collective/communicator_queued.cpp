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
    while (!flags[static_cast<size_t>(rank)]->is_issued(step)) {
      watchdog_.check_abort();
      check_interrupts();
      std::this_thread::yield();
    }
  }
}

/// The place of its label: that is free once all have compared the call that used it last, and where GPUs read it (the
/// factor), once those have done that.
bool Communicator::has_place(uint64_t number) const {
  if (number <= kQueuedCalls) return true;
  const uint64_t last_use = number - kQueuedCalls;
  const bool is_read = staging_.member(first_rank_).labels[number % kQueuedCalls].has_factor();
  for (int rank = 0; rank < staging_.geometry().world_size; ++rank) {
    const Member& member = staging_.member(rank);
    if ((is_read ? member.over : member.compared).load(std::memory_order_acquire) < last_use) return false;
  }
  return true;
}

void Communicator::enter(Call& call) {
  const uint64_t number = call.label.number = ++calls_;
  // Whoever watches the calls may sleep, and then no peer goes on: so this thread compares too, as far as it can.
  if (number % (kQueuedCalls / 2) == 0) compare_queued(number - 1);
  while (!has_place(number)) {
    watchdog_.check_abort();
    check_interrupts();
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    compare_queued(number - 1);
  }
  watchdog_.check_abort();
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
    staging_.member(rank).over.store(number, std::memory_order_release);
  }
}

void Communicator::release_queued(uint32_t step) {
  constexpr uint32_t kFarAhead = 1U << 30;  // less than half the circle: ahead of every step that can be waited for
  for (const auto* flags : {&puts_, &gots_}) {
    for (Flag* flag : *flags) flag->step.store(step + kFarAhead);
  }
}

}  // namespace pinnedpg
