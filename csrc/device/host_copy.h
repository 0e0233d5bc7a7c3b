// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>

#include "base/region.h"

namespace pinnedpg {

/// Copies row by row: the same rows and row_bytes, or both flat and of the same bytes.
void copy_rows(const Region& dst, const Region& src);

/// Copies past the caches: for results so large that the caches do not hold them until they are read. Plain stores
/// would first fetch every line they overwrite (measured on a Sapphire Rapids guest, 64 KiB at a time to 64 MiB: 9
/// GB/s, and 16 GB/s past the caches). What was written is visible to other threads before any later store of this one.
void copy_past_caches(std::byte* dst, const std::byte* src, size_t bytes);

}  // namespace pinnedpg
