// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// torch's side of the GPU without a GPU: CPU tensors are queued, and the stream that their user works on is the host,
// unless a test has made another one current.
//
// FAKE_CUDA_BUSY_MS: read whenever it is asked for the current stream. Where it is set, that is a queue of the thread's
// own, which is then busy for so long.
#include <ATen/ATen.h>

#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "device/cuda_stream.h"
#include "fake_cuda.h"
#include "torch_glue/torch_streams.h"

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

namespace {

/// A stream of the thread's own, which is busy for so long from now on.
void* busy_stream(int milliseconds) {
  static thread_local auto* const stream = new CudaStream(0);  // its work may outlive the thread
  if (milliseconds > 0) {
    auto* const flag = new Flag();
    stream->wait({&flag, 1}, 1);
    std::thread([flag, milliseconds] {
      std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
      flag->step.store(1);
    }).detach();
  }
  return stream->handle();
}

}  // namespace

void* current_stream(int gpu) {
  if (const char* const busy = std::getenv("FAKE_CUDA_BUSY_MS")) return busy_stream(std::atoi(busy));
  static const char* const given = std::getenv("FAKE_CUDA_CALLERS");
  static const size_t count = given != nullptr ? std::strtoul(given, nullptr, 10) : 0;
  if (count == 0) return fake_current_stream(gpu);
  thread_local std::vector<void*> streams;
  thread_local size_t next = 0;
  if (streams.size() < count) streams.push_back(new_stream(gpu));
  return streams[next++ % count];
}

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
