// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>
#include <span>

#include "base/dtype.h"

namespace pinnedpg {

/// One element-wise reduction: `dst[i] = op(srcs[0][i], srcs[1][i], ...)`, in that order.
struct Reduction {
  DType dtype = DType::kFloat32;
  ReduceOp op = ReduceOp::kSum;

  bool operator==(const Reduction&) const = default;
};

/// Whether `reduce_host` (and its CUDA twin) can do it; if not, the door raises before anything is queued.
bool can_reduce(Reduction reduction);

/// Reduces `count` elements of each source into `dst`. `dst` may be one of the sources (the same address), but may not
/// overlap one otherwise. 16-bit and 8-bit floats are accumulated in float32 and rounded once, to nearest even.
/// `factors` has an entry per source for kPremulSum and is empty otherwise. At least one source.
void reduce_host(void* dst, std::span<const void* const> srcs, size_t count, Reduction reduction,
                 std::span<const double> factors);

}  // namespace pinnedpg
