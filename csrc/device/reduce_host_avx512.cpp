// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#ifdef __x86_64__
#if !(defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__))
#error "compile this file with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c"
#endif

// The words by which ATen/cpu/vec is told what to be, and puts it in a namespace of that name.
#define CPU_CAPABILITY AVX512
#define CPU_CAPABILITY_AVX512
#include "device/reduce_kernels.h"

namespace pinnedpg {

constinit const ReduceTable kReduceAvx512 = make_table();

}  // namespace pinnedpg
#endif
