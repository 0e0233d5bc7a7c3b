// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "c10d/tensors.h"
#include "device/cuda_stream.h"

namespace pinnedpg {

/// A message's bytes on their way between a tensor on a GPU and pinned memory of the host, where the mailbox takes or
/// puts them. No copy is queued behind anything that needs a copy still to be queued: a GPU has few queues, and what
/// waits at the head of one holds up the rest. So a message that has come is copied at once; else whoever waits for it
/// has his own stream wait, and copy. Keeps the tensor and the memory while they are needed. Any thread may call it.
class CudaMessage {
 public:
  /// Of a send: queues the copy to the host, behind what is on the current stream, on a stream beside that.
  /// Of a receive: the tensor may be written once what is on the current stream is done. Raises ValueError,
  /// SystemError.
  CudaMessage(const Tensors& tensors, const Region& on_gpu, bool sends);

  int gpu() const { return gpu_; }
  /// Where the host finds, or puts, the bytes.
  Region on_host() const { return host_region_; }

  /// Whether the copy is done: of a send, the bytes are on the host; of a receive, in the tensor.
  bool is_over() const;
  /// Whether its end is to be looked for: it does not depend on the peer.
  bool is_under_way() const { return !over_ && (sends_ || come_); }
  /// What is queued on the stream (a cudaStream_t of the GPU) later comes after the copy. Never blocks the host.
  void hold(void* stream);

  /// The host is done with it. Of a receive: all bytes have come; or none will, and the tensor's contents do not
  /// matter.
  void come(bool well);
  /// Goes on with what the host is to do, without blocking. True: nothing is left, and this can be let go of. Raises
  /// SystemError once.
  bool settle();

 private:
  bool advance();
  void queue_copy(CudaStream& stream);

  const bool sends_;
  Tensors tensors_;
  const Region gpu_region_;
  const int gpu_;
  at::Tensor host_, flag_memory_;
  Region host_region_;
  Flag* flag_ = nullptr;  ///< of a receive: 1 once the host is done with it
  CudaEvent begin_, end_;
  std::mutex mutex_;
  std::atomic<bool> queued_{false};  ///< the copy, and `end_` behind it
  std::atomic<bool> come_{false};
  bool well_ = true;
  std::atomic<bool> over_{false};
  std::atomic<bool> dead_{false};  ///< the GPU has failed
};

}  // namespace pinnedpg
