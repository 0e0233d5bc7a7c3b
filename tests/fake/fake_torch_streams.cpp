// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// torch's side of the GPU without a GPU: CPU tensors are queued, and the stream that their user works on is the host,
// unless a test has made another one current.
#include <map>
#include <mutex>

#include "device/cuda_stream.h"
#include "device/torch_streams.h"
#include "fake_cuda.h"

namespace pinnedpg {

namespace {

std::mutex mutex;
std::map<const void*, int> placed;

}  // namespace

c10::DeviceType gpu_type() { return c10::kCPU; }

int gpu_of(const at::Tensor& tensor) {
  std::lock_guard lock(mutex);
  if (!tensor.has_storage()) return -1;
  const auto found = placed.find(tensor.data_ptr());
  return found == placed.end() ? -1 : found->second;
}

bool may_use_gpus() { return true; }

void* current_stream(int gpu) { return fake_current_stream(gpu); }

void* side_stream(int) { return nullptr; }

std::vector<c10::Device> future_devices(const std::vector<int>&) { return {}; }

CurrentStream::CurrentStream(int, void* stream) : before_(c10::Stream::DEFAULT, c10::Device(c10::kCPU)) {
  synchronize(stream);  // what is done under it is done by the host
}

CurrentStream::~CurrentStream() = default;

}  // namespace pinnedpg

/// Says which GPU a tensor lies on; -1: none.
extern "C" void fake_place(const void* data, int device) {
  std::lock_guard lock(pinnedpg::mutex);
  pinnedpg::placed[data] = device;
}
