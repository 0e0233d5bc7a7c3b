// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include <cuda_runtime_api.h>

#include "base/check.h"
#include "device/device.h"

namespace pinnedpg {
namespace {

const char* remedy(cudaError_t error) {
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
    default:
      return "The CUDA error may stem from earlier, asynchronous work on the GPU";
  }
}

/// Raises what failed at which call. Also takes the error out of CUDA's own store, where torch would find it and blame
/// the next kernel.
template <typename... What>
void check(cudaError_t error, const char* call, const What&... what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();
  throw SystemError(concat(what..., " (", call, ": ", cudaGetErrorName(error), ", ", cudaGetErrorString(error), "). ",
                           remedy(error)));
}

}  // namespace

int cuda_device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();
  return 0;
}

void pin(void* data, size_t bytes) {
  check(cudaHostRegister(data, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped), "cudaHostRegister",
        "pin: cannot pin ", bytes, " bytes at ", data);
}

void unpin(void* data) {
  check(cudaHostUnregister(data), "cudaHostUnregister", "unpin: cannot unpin the memory at ", data);
}

}  // namespace pinnedpg
