// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "torch_glue/torch_streams.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "device/device.h"

namespace pinnedpg {

namespace {

const c10::impl::VirtualGuardImpl& torch_cuda() {
  static const c10::impl::VirtualGuardImpl torch(c10::kCUDA);
  return torch;
}

c10::Device device_of(int gpu) { return {c10::kCUDA, static_cast<c10::DeviceIndex>(gpu)}; }

/// torch's number of a stream that is not its own is the stream's address.
c10::Stream as_torch(int gpu, void* stream) {
  const auto id = static_cast<c10::StreamId>(reinterpret_cast<intptr_t>(stream));
  return c10::Stream(c10::Stream::UNSAFE, device_of(gpu), id);
}

}  // namespace

c10::DeviceType gpu_type() { return c10::kCUDA; }

int gpu_of(const at::Tensor& tensor) { return tensor.is_cuda() ? tensor.device().index() : -1; }

bool may_use_gpus() { return built_with_cuda() && c10::impl::hasDeviceGuardImpl(c10::kCUDA); }

void* current_stream(int gpu) { return torch_cuda().getStream(device_of(gpu)).native_handle(); }

void* side_stream(int gpu) { return torch_cuda().getStreamFromGlobalPool(device_of(gpu)).native_handle(); }

std::vector<c10::Device> future_devices(const std::vector<int>& gpus) {
  std::vector<c10::Device> devices;
  for (const int gpu : gpus) devices.push_back(device_of(gpu));
  return devices;
}

CurrentStream::CurrentStream(int gpu, void* stream) : before_(torch_cuda().exchangeStream(as_torch(gpu, stream))) {}

CurrentStream::~CurrentStream() { torch_cuda().exchangeStream(before_); }

}  // namespace pinnedpg
