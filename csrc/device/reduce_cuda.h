// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "base/region.h"
#include "device/reduce.h"

namespace pinnedpg {

/// reduce_host on a GPU, queued on that stream (a cudaStream_t): the same bits. What `factors` points at is read when
/// the kernel runs. Sources lie on the GPU or in pinned memory, `dst` on the GPU.
cudaError_t reduce_cuda(const Region& dst, std::span<const Region> srcs, Reduction reduction,
                        std::span<const double* const> factors, void* stream);

}  // namespace pinnedpg
