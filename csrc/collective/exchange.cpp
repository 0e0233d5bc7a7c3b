// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "collective/exchange.h"

#include <algorithm>

#include "base/check.h"

namespace pinnedpg {

Toward Exchange::result_direction() const {
  constexpr size_t kCold = 8 << 20;  // a quarter of the L3 of the machine it was measured on
  size_t bytes = 0;
  for (const Get& get : gets) bytes += get.own.data == nullptr ? get.to.bytes() : 0;
  return bytes >= kCold ? Toward::kRankCold : Toward::kRank;
}

size_t Exchange::chunk_bytes(const Geometry& geometry) const {
  if (!image.empty()) return shard_bytes;
  // Four chunks at least, where that makes none smaller than that: puts and gets go on side by side.
  constexpr size_t kSplit = 1 << 20;
  const auto shards = static_cast<size_t>(shard_count);
  const size_t quarter = (shard_bytes + 255) / 256 * 64;
  const size_t bytes = std::min(geometry.slot_bytes, std::max(kSplit, shards * quarter)) / shards;
  // Whole cache lines; in a crowd, whole elements of any type (see Geometry::fit).
  return bytes >= 64 ? bytes / 64 * 64 : bytes / 16 * 16;
}

size_t Exchange::rounds(const Geometry& geometry) const {
  if (!image.empty() || shard_bytes == 0) return 1;
  const size_t chunk = chunk_bytes(geometry);
  return (shard_bytes + chunk - 1) / chunk;
}

}  // namespace pinnedpg
