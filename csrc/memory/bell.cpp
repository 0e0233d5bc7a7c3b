// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "memory/bell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace pinnedpg {

void Bell::ring() {
  // Who arrives stores the flag, then loads `sleepers`; a sleeper adds itself to `sleepers`, then loads the flag. All
  // four are sequentially consistent, so at least one of the two sees the other. (std::atomic::wait would not do:
  // libstdc++ makes it private to the process.)
  if (sleepers.load() == 0) return;
  rings.fetch_add(1, std::memory_order_release);
  ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&rings), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Bell::sleep(uint32_t seen, int milliseconds) {
  const timespec limit{milliseconds / 1000, (milliseconds % 1000) * 1'000'000L};
  ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&rings), FUTEX_WAIT, seen, &limit, nullptr, 0);
}

}  // namespace pinnedpg
