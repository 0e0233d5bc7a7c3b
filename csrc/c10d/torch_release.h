// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What the releases of torch that we build with do not all have. Where torch says itself that it has something, that
// counts (C10D_BACKEND_HAS_RECONFIGURE, _WINDOW, _HOOKS); for the rest its version does.
#pragma once

#include <torch/version.h>

#include <torch/csrc/distributed/c10d/Backend.hpp>

#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 14
#define PINNEDPG_TORCH_HAS_OPTIONS_CLONE
#define PINNEDPG_TORCH_HAS_GATHER_SINGLE
#define PINNEDPG_TORCH_HAS_WORK_TIMEOUT
#endif

#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 15
#define PINNEDPG_TORCH_HAS_COMPLETION_HOOKS
#define PINNEDPG_TORCH_HAS_TIME_ESTIMATE
#endif

namespace pinnedpg {

/// The factor of a PREMUL_SUM.
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 13
using PremulFactor = c10d::PreMulSumSupplement;
#else
using PremulFactor = c10d::NCCLPreMulSumSupplement;
#endif

}  // namespace pinnedpg
