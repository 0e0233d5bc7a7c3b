// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/cuda_check.h"
#include "device/device.h"

namespace pinnedpg {

int cuda_device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  (void)cudaGetLastError();
  return 0;
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
