// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "collective/exchange.h"

#include <algorithm>

#include "base/check.h"

namespace pinnedpg {

Toward Exchange::result_direction() const {
  constexpr size_t kCold = 4 << 20;  // twice the L2 of the machine it was measured on
  return shard_bytes * gets.size() >= kCold ? Toward::kRankCold : Toward::kRank;
}

size_t Exchange::chunk_bytes(const Geometry& geometry) const {
  if (!image.empty()) return shard_bytes;
  const size_t bytes = geometry.slot_bytes / static_cast<size_t>(shard_count);
  // Whole cache lines; in a crowd, whole elements of any type (see Geometry::fit).
  return bytes >= 64 ? bytes / 64 * 64 : bytes / 16 * 16;
}

size_t Exchange::rounds(const Geometry& geometry) const {
  if (!image.empty() || shard_bytes == 0) return 1;
  const size_t chunk = chunk_bytes(geometry);
  return (shard_bytes + chunk - 1) / chunk;
}

}  // namespace pinnedpg
