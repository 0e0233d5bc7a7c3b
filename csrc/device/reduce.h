// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

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
/// overlap one otherwise. Pointers need no alignment. 16-bit and 8-bit floats are accumulated in float32 and rounded
/// once, to nearest even; their NaNs come out as one code, those of wider floats with any sign and payload.
/// `factors` has an entry per source for kPremulSum and is empty otherwise. At least one source.
/// Any thread may call it, also for different parts of one reduction; it allocates nothing.
void reduce_host(void* dst, std::span<const void* const> srcs, size_t count, Reduction reduction,
                 std::span<const double> factors);

/// The instruction sets that this machine can run, slowest first; `reduce_host` uses the last. All give equal bits.
std::span<const char* const> reduce_isas();

/// `reduce_host` with the instruction set of that name, for tests.
void reduce_host_with(std::string_view isa, void* dst, std::span<const void* const> srcs, size_t count,
                      Reduction reduction, std::span<const double> factors);

}  // namespace pinnedpg
