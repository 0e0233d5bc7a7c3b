// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>

#include "base/dtype.h"

namespace pinnedpg {

/// Reduces `count` elements of `src_count` sources into `dst`. Pointers need no alignment. `factors` is read by
/// PREMUL_SUM only.
using ReduceKernel = void (*)(void* dst, const void* const* srcs, size_t src_count, size_t count,
                              const double* factors);

/// One instruction set's kernels; null where `lower` leads elsewhere or the reduction has no meaning.
struct ReduceTable {
  ReduceKernel kernels[kDTypeCount][kReduceOpCount];
};

extern const ReduceTable kReduceDefault;
#ifdef __x86_64__
extern const ReduceTable kReduceAvx2;
extern const ReduceTable kReduceAvx512;
#endif

}  // namespace pinnedpg
