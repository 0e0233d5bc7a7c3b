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

/// Loads its kernels onto the current GPU, which is `device`: a kernel's first launch would else wait for all that has
/// been queued there, which may be waiting for who launches it.
cudaError_t load_reductions(int device);

}  // namespace pinnedpg
