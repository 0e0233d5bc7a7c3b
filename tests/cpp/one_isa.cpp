// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// The baseline's loops for every instruction set: for the thread sanitizer, which looks at who touches what and when.
// They need no torch; those that do are compiled for the address sanitizer, which looks at where their tails end.
#include "device/reduce_kernels.h"

namespace pinnedpg {

constinit const ReduceTable kReduceDefault = make_table();
#ifdef __x86_64__
constinit const ReduceTable kReduceAvx2 = make_table();
constinit const ReduceTable kReduceAvx512 = make_table();
#endif

}  // namespace pinnedpg
