// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cuda_runtime_api.h>

#include "base/check.h"

namespace pinnedpg {

/// What a user can do about an error.
inline const char* remedy(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
    case cudaErrorOperatingSystem:
      return "Raise RLIMIT_MEMLOCK or lower slot_bytes";
    case cudaErrorHostMemoryAlreadyRegistered:
      return "Unpin it first: another library may have pinned it";
    case cudaErrorHostMemoryNotRegistered:
      return "Unpin exactly what was pinned, once";
    case cudaErrorInvalidValue:
      return "The memory must be mapped and its address and size multiples of the page size";
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
      return "nvidia-smi must list a GPU, with a driver at least as new as this build's CUDA";
    case cudaErrorNoKernelImageForDevice:
      return "Build pinnedpg for this GPU: TORCH_CUDA_ARCH_LIST";
    default:
      return "The CUDA error may stem from earlier, asynchronous work on the GPU";
  }
}

/// Raises what failed at which call. Also takes the error out of CUDA's own store, where torch would find it and blame
/// the next kernel.
template <typename... What>
void check_cuda(cudaError_t error, const char* call, const What&... what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();
  throw SystemError(concat(what..., " (", call, ": ", cudaGetErrorName(error), ", ", cudaGetErrorString(error), "). ",
                           remedy(error)));
}

/// One of the driver's own calls, fetched at run time: nothing links libcuda. Raises SystemError.
template <typename Function>
Function driver_call(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
  // Those of CUDA 11.7 and newer, which every device of today's drivers has.
  check_cuda(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result),
             "cudaGetDriverEntryPointByVersion", "CUDA: cannot find ", name);
  if (found == nullptr) throw SystemError(concat("CUDA: the driver must have ", name, "; update it"));
  return reinterpret_cast<Function>(found);
}

}  // namespace pinnedpg
