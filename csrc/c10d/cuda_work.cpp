// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/cuda_work.h"

#include <ATen/core/ivalue.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "c10d/errors.h"

namespace pinnedpg {

namespace {

const c10::impl::VirtualGuardImpl& torch_cuda() {
  static const c10::impl::VirtualGuardImpl torch(at::kCUDA);
  return torch;
}

c10::Device device_of(int gpu) { return {at::kCUDA, static_cast<c10::DeviceIndex>(gpu)}; }

/// torch's number of a stream that is not its own is the stream's address.
c10::Stream as_torch(int gpu, void* stream) {
  const auto id = static_cast<c10::StreamId>(reinterpret_cast<intptr_t>(stream));
  return c10::Stream(c10::Stream::UNSAFE, device_of(gpu), id);
}

}  // namespace

void* current_stream(int gpu) { return torch_cuda().getStream(device_of(gpu)).native_handle(); }

CurrentStream::CurrentStream(int gpu, void* stream) : before_(torch_cuda().exchangeStream(as_torch(gpu, stream))) {}

CurrentStream::~CurrentStream() { torch_cuda().exchangeStream(before_); }

void WorkCuda::hold_streams(const CudaEvents& events) {
  for (const auto& [gpu, event] : events) {
    const CurrentDevice current(gpu);
    event->hold(current_stream(gpu));
  }
}

void WorkCuda::wait_until(std::chrono::steady_clock::time_point end, std::chrono::milliseconds timeout) {
  if (isCompleted() || timeout.count() > 0) WorkPinned::wait_until(end, timeout);
  with_torch_errors([&] { hold_streams(done_); });
}

c10::intrusive_ptr<c10::ivalue::Future> WorkCuda::getFuture() {
  {
    std::lock_guard lock(mutex_);
    if (stream_future_) return stream_future_;
  }
  std::vector<c10::Device> gpus;
  for (const auto& [gpu, event] : done_) gpus.push_back(device_of(gpu));
  auto future = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()), gpus);
  // It notes how far the current streams are: those of torch's that come after the call.
  std::vector<std::unique_ptr<CurrentStream>> streams;
  for (const auto& [gpu, event] : done_) {
    void* const stream = torch_cuda().getStreamFromGlobalPool(device_of(gpu)).native_handle();
    const CurrentDevice current(gpu);
    event->hold(stream);
    streams.push_back(std::make_unique<CurrentStream>(gpu, stream));
  }
  future->markCompleted(c10::IValue(outputs()));
  while (!streams.empty()) streams.pop_back();
  std::lock_guard lock(mutex_);
  return stream_future_ = std::move(future);
}

}  // namespace pinnedpg
