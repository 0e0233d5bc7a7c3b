// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// torch's side of the GPU without a GPU: CPU tensors are queued, and the stream that their user works on is the host.
//
// FAKE_CUDA_BUSY_MS: read whenever it is asked for the current stream. Where it is set, that is a queue of the thread's
// own, which is then busy for so long.
#include <ATen/ATen.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "c10d/torch_streams.h"
#include "device/cuda_stream.h"

namespace pinnedpg {

c10::DeviceType gpu_type() { return c10::kCPU; }

bool may_use_gpus() { return true; }

void* current_stream(int) {
  const char* const given = std::getenv("FAKE_CUDA_BUSY_MS");
  if (given == nullptr) return nullptr;
  static thread_local auto* const stream = new CudaStream(0);  // its work may outlive the thread
  if (const int busy = std::atoi(given); busy > 0) {
    auto* const flag = new Flag();
    stream->wait({&flag, 1}, 1);
    std::thread([flag, busy] {
      std::this_thread::sleep_for(std::chrono::milliseconds(busy));
      flag->step.store(1);
    }).detach();
  }
  return stream->handle();
}

void* side_stream(int) { return nullptr; }

at::Tensor pinned_memory(int64_t bytes) { return at::empty({bytes}, at::TensorOptions().dtype(at::kByte)); }

std::vector<c10::Device> future_devices(const std::vector<int>&) { return {}; }

CurrentStream::CurrentStream(int, void* stream) : before_(c10::Stream::DEFAULT, c10::Device(c10::kCPU)) {
  synchronize(stream);  // what is done under it is done by the host
}

CurrentStream::~CurrentStream() = default;

}  // namespace pinnedpg
