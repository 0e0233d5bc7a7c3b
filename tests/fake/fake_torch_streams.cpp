// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// torch's side of the GPU without a GPU: CPU tensors are queued, and the stream that their user works on is the host.
#include <cstdlib>
#include <vector>

#include "c10d/torch_streams.h"
#include "device/cuda_stream.h"
#include "fake_cuda.h"

namespace pinnedpg {

c10::DeviceType gpu_type() { return c10::kCPU; }

bool may_use_gpus() { return true; }

void* current_stream(int) {
  static const char* const given = std::getenv("FAKE_CUDA_CALLERS");
  static const size_t count = given != nullptr ? std::strtoul(given, nullptr, 10) : 0;
  if (count == 0) return nullptr;
  thread_local std::vector<void*> streams;
  thread_local size_t next = 0;
  if (streams.size() < count) streams.push_back(new_stream());
  return streams[next++ % count];
}

void* side_stream(int) { return nullptr; }

std::vector<c10::Device> future_devices(const std::vector<int>&) { return {}; }

CurrentStream::CurrentStream(int, void* stream) : before_(c10::Stream::DEFAULT, c10::Device(c10::kCPU)) {
  synchronize(stream);  // what is done under it is done by the host
}

CurrentStream::~CurrentStream() = default;

}  // namespace pinnedpg
