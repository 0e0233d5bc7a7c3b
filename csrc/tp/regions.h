// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include "base/region.h"

namespace pinnedpg::tp {

/// The bytes a region covers, gaps between its rows included.
inline Region extent(const Region& region) {
  return Region::flat(region.data, region.bytes() == 0 ? 0 : (region.rows - 1) * region.pitch + region.row_bytes);
}

/// A region of the same rows, packed from `data` on.
inline Region packed(void* data, const Region& region) {
  return {static_cast<std::byte*>(data), region.row_bytes, region.rows, region.row_bytes};
}

/// Whether the extents of two regions share a byte.
inline bool overlap(const Region& one, const Region& other) {
  const Region a = extent(one), b = extent(other);
  return a.bytes() > 0 && b.bytes() > 0 && a.data < b.data + b.bytes() && b.data < a.data + a.bytes();
}

/// Whether two regions are the same bytes in the same order.
inline bool same_place(const Region& one, const Region& other) {
  if (one.data != other.data || one.bytes() != other.bytes()) return false;
  if (one.is_flat() && other.is_flat()) return true;
  return one.row_bytes == other.row_bytes && one.rows == other.rows && one.pitch == other.pitch;
}

}  // namespace pinnedpg::tp
