// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <algorithm>
#include <cstddef>

namespace pinnedpg {

/// A rectangle of bytes: `rows` rows of `row_bytes`, their starts `pitch` bytes apart. Does not own what it names.
/// A contiguous tensor is one row; a column shard of a row-major matrix is many.
struct Region {
  std::byte* data = nullptr;
  size_t row_bytes = 0;
  size_t rows = 1;
  size_t pitch = 0;

  static Region flat(void* data, size_t bytes) { return {static_cast<std::byte*>(data), bytes, 1, bytes}; }

  size_t bytes() const { return row_bytes * rows; }
  bool is_flat() const { return rows == 1 || pitch == row_bytes; }

  /// The part [begin, begin + bytes) of a flat region, cut short where the region ends (empty beyond it).
  Region cut(size_t begin, size_t bytes) const {
    const size_t total = this->bytes();
    begin = std::min(begin, total);
    return flat(data + begin, std::min(bytes, total - begin));
  }
};

}  // namespace pinnedpg
