// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/cuda_message.h"

#include <map>
#include <new>

#include "c10d/cuda_team.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

namespace {

/// Up to this size the flag lies in front of the bytes: torch makes pinned memory in powers of two.
constexpr size_t kSmallBytes = 4 << 10;

/// A stream beside one of the users', or (null) that for what has come: it holds copies alone, and none that waits.
CudaStream& beside(int gpu, void* users, bool sends) {
  static auto* const streams = new std::map<std::tuple<int, void*, bool>, std::unique_ptr<CudaStream>>;
  static auto* const mutex = new std::mutex;  // never destroyed: the worker goes on
  std::lock_guard lock(*mutex);
  auto& stream = (*streams)[{gpu, users, sends}];
  if (!stream) stream = std::make_unique<CudaStream>(gpu);
  return *stream;
}

/// Of the host, from torch's cache of what is pinned.
at::Tensor pinned_memory(size_t bytes) {
  const auto options = at::TensorOptions().dtype(at::kByte).pinned_memory(gpu_type() == c10::kCUDA);
  return at::empty({static_cast<int64_t>(bytes)}, options);
}

}  // namespace

CudaMessage::CudaMessage(const Tensors& tensors, const Region& on_gpu, bool sends)
    : sends_(sends), tensors_(tensors), gpu_region_(on_gpu), gpu_(tensors.gpus().at(0)), begin_(gpu_), end_(gpu_) {
  const CurrentDevice current(gpu_);
  void* const users = current_stream(gpu_);
  PINNEDPG_CHECK(!is_captured(users), tensors.operation(), ": a message cannot be captured in a CUDA graph; got a ",
                 "current stream that is being captured. Make the call outside of the graph");
  const size_t bytes = on_gpu.bytes();
  const size_t front = bytes < kSmallBytes ? sizeof(Flag) : 0;
  host_ = pinned_memory(front + bytes);
  host_region_ = Region::flat(static_cast<std::byte*>(host_.data_ptr()) + front, bytes);
  if (front == 0) flag_memory_ = pinned_memory(sizeof(Flag));
  flag_ = new (front > 0 ? host_.data_ptr() : flag_memory_.data_ptr()) Flag();
  begin_.record(users);
  if (!sends) return;
  CudaStream& stream = beside(gpu_, users, true);
  begin_.hold(stream.handle());
  stream.copy(host_region_, gpu_region_, Toward::kStage);
  stream.arrive(*flag_, 1);
  end_.record(stream.handle());
  queued_ = true;
}

void CudaMessage::hold(void* stream) {
  std::lock_guard lock(mutex_);
  if (void_) return;  // who waits is told of the failure
  if (fault_) std::rethrow_exception(fault_);
  const CurrentDevice current(gpu_);
  if (queued_) return end_.hold(stream);
  begin_.hold(stream);
  CudaStream users(stream);
  users.wait({&flag_, 1}, 1);
  queue_copy(users);
}

void CudaMessage::come(bool well) {
  well_ = well;
  if (!sends_) flag_->step.store(1);  // before all else: the holder of the lock may wait for it
  come_ = true;
}

void CudaMessage::attend() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || over_ || void_) return;
  if (fault_) std::rethrow_exception(fault_);
  if (!sends_ && come_ && !well_ && !queued_) void_ = true;
  if (void_) return;
  try {
    const CurrentDevice current(gpu_);
    // What its stream waits for may need a later copy: until it is there none is queued.
    if (wants_copy() && begin_.is_over()) queue_copy(beside(gpu_, nullptr, false));
    if (!queued_ || !end_.is_over()) return;
    tensors_ = Tensors(tensors_.operation());
    over_ = true;
  } catch (const SystemError&) {
    fault_ = std::current_exception();
    dead_ = true;
    throw;
  }
}

void CudaMessage::let_go() {
  std::lock_guard lock(mutex_);
  over_ = !dead_ && !void_;
  tensors_ = Tensors(tensors_.operation());
  host_ = flag_memory_ = at::Tensor();
  if (fault_) std::rethrow_exception(fault_);
}

void CudaMessage::queue_copy(CudaStream& stream) {
  stream.copy(gpu_region_, host_region_, Toward::kRank);
  if (tensors_.writes_back()) {
    const CurrentStream current(gpu_, stream.handle());
    tensors_.write_back();
  }
  end_.record(stream.handle());
  queued_ = true;
}

}  // namespace pinnedpg
