// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

namespace pinnedpg {

/// How a thread waits for a flag: spins, then yields its core, then sleeps. A rank that spins while its peer shares the
/// core costs that peer a time slice (4 ms measured), so only ranks with a core each spin.
struct WaitPolicy {
  int spins = 0;
  int yields = 0;

  /// For `ranks` ranks on this process's cores, or, if it is pinned to one, on the machine's.
  static WaitPolicy for_ranks(int ranks);
};

/// Lets others have the core for a moment; false: not now, the caller is to sleep instead. Where somebody else computes
/// on the core, a yield takes a time slice (2 ms measured), while a sleeper that is woken gets the core at once. So
/// after a long one this thread does without for some times as long, and longer each time that the next is long again.
bool yield_core();

/// Tells the core that this is a wait loop.
inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

}  // namespace pinnedpg
