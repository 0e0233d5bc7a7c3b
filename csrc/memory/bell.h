// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <cstdint>

namespace pinnedpg {

/// Where ranks sleep until any flag of their group moves. One for all ranks: who waits does not know who will be late.
struct alignas(64) Bell {
  std::atomic<uint32_t> rings;
  std::atomic<uint32_t> sleepers;

  /// Wakes all sleepers; a load when there are none. Call it after what they wait for has been stored.
  void ring();

  /// Sleeps until the bell has rung more than `seen` times, or `milliseconds` have passed, or for no reason. To lose no
  /// ring: announce yourself (`sleepers`), read `rings`, look once more at what you wait for, then sleep.
  void sleep(uint32_t seen, int milliseconds);
};
static_assert(sizeof(Bell) == 64);

}  // namespace pinnedpg
