// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/options.h"

#include <algorithm>

#include "base/check.h"
#include "device/fused.h"
#include "device/wait_policy.h"

namespace pinnedpg {

namespace {

constexpr int kRanksMost = 1 << 16;  ///< beyond it sizes overflow

/// One exchange moves (N - 1) x bytes to each rank, two move 2 x (N - 1) / N x bytes but cost a hand-over more:
/// measured in docs/performance.md, and for GPUs, where a hand-over costs more, in docs/gpus.md.
size_t one_shot_default(int world_size, bool on_gpus) {
  const auto ranks = static_cast<size_t>(world_size);
  return (on_gpus ? 8 << 20 : 1 << 20) / (ranks * ranks);
}

}  // namespace

Geometry Options::geometry(int world_size, int quarters, bool on_gpus) const {
  PINNEDPG_CHECK(world_size >= 1 && world_size <= kRanksMost, "options: world_size must be from 1 to ", kRanksMost,
                 "; got ", world_size);
  PINNEDPG_CHECK(slot_bytes >= 0 && depth >= 0 && one_shot_bytes >= -1 && budget_bytes > 0,
                 "options: sizes must not be negative; got slot_bytes = ", slot_bytes, ", depth = ", depth,
                 ", one_shot_bytes = ", one_shot_bytes, ", budget_bytes = ", budget_bytes);
  PINNEDPG_CHECK(timeout.count() > 0, "options: the timeout must be longer than 0; got ", timeout.count(), " ms");
  constexpr auto kMost = static_cast<int64_t>(kFusedMost);
  PINNEDPG_CHECK(fused_bytes >= 0 && fused_bytes % 64 == 0 && fused_bytes <= kMost,
                 "options: fused_bytes must be a multiple of 64 from 0 to 1 MiB; got ", fused_bytes);
  PINNEDPG_CHECK(word_bytes >= 0 && word_bytes % 64 == 0 && word_bytes <= kMost,
                 "options: word_bytes must be a multiple of 64 from 0 to 1 MiB; got ", word_bytes);
  PINNEDPG_CHECK(depth == 0 || (depth >= 4 && (depth & (depth - 1)) == 0 && depth <= 1024),
                 "options: depth must be a power of two from 4 to 1024; got ", depth);
  PINNEDPG_CHECK(slot_bytes == 0 || (slot_bytes >= 4096 && slot_bytes % 64 == 0 && slot_bytes <= 1 << 30),
                 "options: slot_bytes must be a multiple of 64 from 4096 to 1 GiB; got ", slot_bytes);
  // Where ranks share cores, a hand-over costs a switch of threads: few and large ones then.
  const bool crowded = WaitPolicy::for_ranks(world_size).spins == 0;
  const size_t chosen = on_gpus ? 4 << 20 : crowded ? 1 << 20 : 128 << 10;  // docs/performance.md, docs/gpus.md
  const size_t slot = slot_bytes != 0 ? static_cast<size_t>(slot_bytes) : chosen;
  const uint32_t slots = depth != 0 ? static_cast<uint32_t>(depth) : on_gpus || crowded ? 4 : 16;
  const size_t one_shot =
      one_shot_bytes >= 0 ? static_cast<size_t>(one_shot_bytes) : one_shot_default(world_size, on_gpus);
  const bool may_fuse = on_gpus && quarters > 1 && static_cast<size_t>(world_size) <= kFusedRanks;
  const size_t fused = may_fuse ? static_cast<size_t>(fused_bytes) : 0;
  const auto words = static_cast<size_t>(word_bytes);
  const auto budget = static_cast<size_t>(budget_bytes / 4 * quarters);
  Geometry geometry = Geometry::fit(world_size, slot, slots, one_shot, budget, fused, words);
  if (one_shot_bytes < 0) geometry.one_shot_bytes = std::max(one_shot, geometry.word_bytes);
  return geometry;
}

}  // namespace pinnedpg
