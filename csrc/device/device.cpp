// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/device.h"

#include "base/check.h"

namespace pinnedpg {

#ifdef PINNEDPG_WITH_CUDA

bool built_with_cuda() { return true; }  // cuda_device.cu has the rest

#else

namespace {

[[noreturn]] void throw_no_cuda(const char* operation) {
  throw SystemError(concat(operation, ": pinnedpg must be built with CUDA; got a build for the CPU alone. ",
                           "Rebuild it where nvcc is found (PINNEDPG_CUDA=1 insists on it)"));
}

}  // namespace

bool built_with_cuda() { return false; }

int cuda_device_count() noexcept { return 0; }

void pin(void*, size_t) { throw_no_cuda("pin"); }

void unpin(void*) { throw_no_cuda("unpin"); }

#endif

}  // namespace pinnedpg
