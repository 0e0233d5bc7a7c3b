// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/reduce_kernels.h"

namespace pinnedpg {

constinit const ReduceTable kReduceDefault = make_table();

}  // namespace pinnedpg
