// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#ifdef __x86_64__
#if !(defined(__AVX2__) && defined(__FMA__) && defined(__F16C__))
#error "compile this file with -mavx2 -mfma -mf16c"
#endif

// The words by which ATen/cpu/vec is told what to be, and puts it in a namespace of that name.
#define CPU_CAPABILITY AVX2
#define CPU_CAPABILITY_AVX2
#include "device/reduce_kernels.h"

namespace pinnedpg {

constinit const ReduceTable kReduceAvx2 = make_table();

}  // namespace pinnedpg
#endif
