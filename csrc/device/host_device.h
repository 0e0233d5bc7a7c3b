// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

/// A function of the host and, in a .cu file, of the GPU.
#ifdef __CUDACC__
#define PINNEDPG_HD __host__ __device__ __forceinline__
#else
#define PINNEDPG_HD inline __attribute__((always_inline))
#endif
