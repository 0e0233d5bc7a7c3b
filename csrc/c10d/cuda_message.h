// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>

#include "c10d/tensors.h"
#include "device/cuda_stream.h"

namespace pinnedpg {

/// A message's bytes on their way between a tensor on a GPU and pinned memory of the host, where the mailbox takes or
/// puts them. No copy is queued behind anything that needs a copy still to be queued: a GPU has few queues, and what
/// waits at the head of one holds up the rest. So a message that has come is copied soon; else whoever waits for it
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

  // For who moves messages. These make no call of CUDA's: such a call has to wait where another thread loads a kernel,
  // and that thread for all that is queued, and so perhaps for a message.

  /// Of a send that the host is not done with: its bytes are on the host.
  bool is_ready() const { return over_ || flag_->has_reached(1); }
  /// The host is done with it. Of a receive: all bytes have come; or none will, and the tensor's contents do not
  /// matter.
  void come(bool well);
  /// Whether its end is to be looked for: it does not depend on the peer.
  bool is_under_way() const { return !over_ && (sends_ ? !is_ready() : come_.load()); }
  /// Whether what has come is yet to be copied to the GPU.
  bool wants_copy() const { return !sends_ && come_ && well_ && !queued_; }
  /// Whether `attend` may have something to do.
  bool is_to_be_attended() const { return !over_ && (sends_ || come_); }
  /// Whether nothing is left but to let go of it.
  bool is_settled() const { return dead_ || (come_ && (sends_ ? is_ready() : over_ || void_)); }

  // These may block where another thread loads a kernel.

  /// What is queued on the stream (a cudaStream_t of the GPU) later comes after the copy.
  void hold(void* stream);
  /// Does what is left to be done for the GPU, as far as nothing need be waited for. Raises SystemError where the GPU
  /// has failed.
  void attend();
  /// Of what is settled. Raises as `attend` does.
  void let_go();
  /// Whether the copy is done, as far as has been seen to.
  bool is_over() const { return over_; }

 private:
  void queue_copy(CudaStream& stream);

  const bool sends_;
  Tensors tensors_;
  const Region gpu_region_;
  const int gpu_;
  at::Tensor host_, flag_memory_;
  Region host_region_;
  Flag* flag_ = nullptr;  ///< of a send, 1 once its bytes are on the host; of a receive, once the host is done with it
  CudaEvent begin_, end_;
  std::mutex mutex_;
  std::atomic<bool> queued_{false};  ///< the copy, and `end_` behind it
  std::atomic<bool> come_{false};
  std::atomic<bool> well_{true};
  std::atomic<bool> over_{false};
  std::atomic<bool> void_{false};  ///< the message has failed, and nothing is or will be queued of it
  std::atomic<bool> dead_{false};  ///< the GPU has failed: with `fault_`
  std::exception_ptr fault_;
};

}  // namespace pinnedpg
