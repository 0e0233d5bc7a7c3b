// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace pinnedpg {

/// Whether the build had nvcc. Without it every CUDA function below says so, and nothing else differs.
bool built_with_cuda();

/// GPUs that this process can use; 0 where there is none, no driver, or no CUDA in the build. Never throws. Starts the
/// CUDA driver, but makes no context on any GPU.
int cuda_device_count() noexcept;

/// What tells that GPU (or part of one) from the others of the machine, in every process. Raises SystemError.
std::array<uint8_t, 16> gpu_id(int device);

/// Whether kernels that run for seconds are ended there: Windows does that, and a display server on its GPU. Raises
/// SystemError.
bool ends_long_kernels(int device);

/// Makes `bytes` of host memory at `data` (both page-aligned) readable and writable by every GPU at the same address,
/// until `unpin`. Locks the pages. Needs a GPU. Raises SystemError.
void pin(void* data, size_t bytes);

/// Whether a GPU can use that byte of host memory. Raises SystemError.
bool is_pinned(const void* data);

/// Undoes `pin(data, ...)`, once no GPU uses the memory any more. Raises SystemError.
void unpin(void* data);

}  // namespace pinnedpg
