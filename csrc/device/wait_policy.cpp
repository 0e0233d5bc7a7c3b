// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/wait_policy.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace pinnedpg {

namespace {

using std::chrono::steady_clock;

/// Ranks that share a core hand it over in some microseconds; a time slice takes longer.
constexpr std::chrono::milliseconds kLong{1};
/// How often as long as a long yield there is none, at first and at the most.
constexpr int kFirst = 4, kMost = 128;

}  // namespace

WaitPolicy WaitPolicy::for_ranks(int ranks) {
  cpu_set_t cores;
  const bool known = ::sched_getaffinity(0, sizeof cores, &cores) == 0;
  // A rank with one core has most likely been pinned to it, as its peers to theirs. If they are all on this one, their
  // flags will say so (`shares_core`).
  const bool pinned = !known || CPU_COUNT(&cores) == 1;
  const int core_count = pinned ? static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)) : CPU_COUNT(&cores);
  return core_count >= ranks ? WaitPolicy{200, 100} : WaitPolicy{0, 200};
}

bool yield_core() {
  thread_local steady_clock::time_point not_before{};
  thread_local steady_clock::duration pause{};
  const auto begin = steady_clock::now();
  if (begin < not_before) return false;
  ::sched_yield();
  const auto end = steady_clock::now();
  if (end - begin < kLong) return true;
  const bool soon = begin < not_before + pause;  // yields were not short for as long as there was none
  pause = soon ? std::min(2 * pause, kMost * (end - begin)) : kFirst * (end - begin);
  not_before = end + pause;
  return false;
}

}  // namespace pinnedpg
