// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include <cuda.h>

#include <cstring>

#include "device/cuda_check.h"
#include "device/device.h"

namespace pinnedpg {

int cuda_device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();
  return 0;
}

std::array<uint8_t, 16> gpu_id(int device) {
  // Of a part of a GPU (MIG) its own, which the runtime's properties do not promise.
  static const auto uuid_of = driver_call<CUresult (*)(CUuuid*, CUdevice)>("cuDeviceGetUuid");
  static const auto handle_of = driver_call<CUresult (*)(CUdevice*, int)>("cuDeviceGet");
  CUdevice handle = 0;
  CUuuid uuid;
  if (handle_of(&handle, device) != CUDA_SUCCESS || uuid_of(&uuid, handle) != CUDA_SUCCESS) {
    throw SystemError(concat("CUDA: cannot ask GPU ", device, " (cuDeviceGetUuid)"));
  }
  std::array<uint8_t, 16> id;
  std::memcpy(id.data(), uuid.bytes, id.size());
  return id;
}

bool ends_long_kernels(int device) {
  int ends = 0;
  check_cuda(cudaDeviceGetAttribute(&ends, cudaDevAttrKernelExecTimeout, device), "cudaDeviceGetAttribute",
             "CUDA: cannot ask GPU ", device);
  return ends != 0;
}

void pin(void* data, size_t bytes) {
  check_cuda(cudaHostRegister(data, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped), "cudaHostRegister",
             "pin: cannot pin ", bytes, " bytes at ", data);
}

bool is_pinned(const void* data) {
  cudaPointerAttributes attributes{};
  check_cuda(cudaPointerGetAttributes(&attributes, data), "cudaPointerGetAttributes", "pin: cannot ask about ", data);
  return attributes.type == cudaMemoryTypeHost;
}

void unpin(void* data) {
  check_cuda(cudaHostUnregister(data), "cudaHostUnregister", "unpin: cannot unpin the memory at ", data);
}

}  // namespace pinnedpg
