// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <vector>

namespace pinnedpg {

/// The type of the tensors whose calls are queued on streams.
c10::DeviceType gpu_type();

/// The GPU whose memory a tensor lies in; -1: none's.
int gpu_of(const at::Tensor& tensor);

/// Whether a rank may come to make calls with tensors on GPUs.
bool may_use_gpus();

/// The current stream of a GPU, a cudaStream_t.
void* current_stream(int gpu);

/// One of torch's own streams, on which nobody waits for long.
void* side_stream(int gpu);

/// The devices of a future whose value is to be waited for on their streams.
std::vector<c10::Device> future_devices(const std::vector<int>& gpus);

/// A stream of a GPU's, made current while this lives.
class CurrentStream {
 public:
  CurrentStream(int gpu, void* stream);
  ~CurrentStream();
  CurrentStream(const CurrentStream&) = delete;
  CurrentStream& operator=(const CurrentStream&) = delete;

 private:
  const c10::Stream before_;
};

}  // namespace pinnedpg
