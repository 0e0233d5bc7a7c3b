// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/device.h"

#include "base/check.h"
#include "device/cuda_stream.h"
#include "device/fused.h"

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

std::array<uint8_t, 16> gpu_id(int) { throw_no_cuda("CUDA"); }

bool ends_long_kernels(int) { throw_no_cuda("CUDA"); }

void pin(void*, size_t) { throw_no_cuda("pin"); }

bool is_pinned(const void*) { return false; }

void unpin(void*) { throw_no_cuda("unpin"); }

CudaEvent::CudaEvent(int device) : device_(device) { throw_no_cuda("CUDA"); }
CudaEvent::~CudaEvent() = default;
void CudaEvent::record(void*) { throw_no_cuda("CUDA"); }
void CudaEvent::hold(void*) const { throw_no_cuda("CUDA"); }
bool CudaEvent::is_over() const { throw_no_cuda("CUDA"); }
void CudaEvent::synchronize() const { throw_no_cuda("CUDA"); }

CudaStream::CudaStream(int) : owned_(false) { throw_no_cuda("CUDA"); }
CudaStream::CudaStream(void*) : owned_(false) { throw_no_cuda("CUDA"); }
bool CudaStream::can_wait(int) noexcept { return false; }
CudaStream::~CudaStream() = default;
void CudaStream::copy(const Region&, const Region&, Toward) { throw_no_cuda("CUDA"); }
void CudaStream::reduce(const Region&, std::span<const Region>, Reduction, std::span<const double* const>) {
  throw_no_cuda("CUDA");
}
void CudaStream::arrive(Flag&, uint32_t) { throw_no_cuda("CUDA"); }
void CudaStream::copy_on_host(const Region&, const Region&) { throw_no_cuda("CUDA"); }
bool CudaStream::is_idle() const { throw_no_cuda("CUDA"); }
bool CudaStream::wait(std::span<Flag* const>, uint32_t) { throw_no_cuda("CUDA"); }

FusedQueue::FusedQueue(int device) : device_(device) { throw_no_cuda("CUDA"); }
FusedQueue::~FusedQueue() = default;
void FusedQueue::push(const FusedRound&, void*) { throw_no_cuda("CUDA"); }

CurrentDevice::CurrentDevice(int) { throw_no_cuda("CUDA"); }
CurrentDevice::~CurrentDevice() = default;
void* address_on_gpu(void*) { throw_no_cuda("CUDA"); }
bool is_same_stream(void*, void*) noexcept { return false; }
bool is_captured(void*) { throw_no_cuda("CUDA"); }
bool is_stream_of(int, uint64_t) noexcept { return false; }
bool is_on_gpu(const void*) { return false; }
void synchronize(void*) { throw_no_cuda("CUDA"); }

#endif

}  // namespace pinnedpg
