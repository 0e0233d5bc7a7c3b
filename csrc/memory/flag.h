// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <cstdint>

namespace pinnedpg {

/// Whether `step` has come as far as `target`, on a circle of 2^32 steps: as `CU_STREAM_WAIT_VALUE_GEQ` compares.
constexpr bool reached(uint32_t step, uint32_t target) { return static_cast<int32_t>(step - target) >= 0; }

/// The last step its rank has put (or got). It only grows and has one writer; it fills a cache line of its own, and
/// what the readers of the step want with it lies in the same line.
struct alignas(64) Flag {
  std::atomic<uint32_t> step;
  std::atomic<int32_t> cpu;      ///< where its writer ran when it last arrived: a waiter on that core must yield
  std::atomic<uint32_t> issued;  ///< where its writer is a GPU: the last step that has been queued there
  std::atomic<uint64_t> fingerprint[4];  ///< of the writer's newest calls, by call number modulo 4

  /// Sequentially consistent, as a sleeper's last look must be (see Bell).
  bool has_reached(uint32_t target) const { return reached(step.load(), target); }
  bool is_issued(uint32_t target) const { return reached(issued.load(std::memory_order_acquire), target); }
};
static_assert(sizeof(Flag) == 64);

}  // namespace pinnedpg
