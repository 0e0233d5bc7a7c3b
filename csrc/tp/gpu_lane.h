// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "device/cuda_probe.h"
#include "device/cuda_stream.h"

namespace pinnedpg::tp {

/// A context's stream on one GPU, which is its caller's: both lanes of the member in every team. Legs are queued there
/// from end to end by the threads that make the calls; one at a time.
class GpuLane final : public Stream {
 public:
  GpuLane(int device, void* stream) : device_(device), gpu_(stream), probe_(device) {}

  int device() const { return device_; }
  /// A cudaStream_t.
  void* handle() const { return gpu_.handle(); }

  /// What the stream has been given until now, whoever gave it. Any thread may let go of it, with no call of CUDA's
  /// while the lane is there. Raises SystemError.
  std::shared_ptr<CudaEvent> mark();
  /// For whoever watches. Raises SystemError where the GPU has failed.
  void check_gpu() { probe_.look(); }

  /// Of the leg being queued: whether its peers may be queued later, so that it must not wait for that.
  void set_ahead(bool ahead) { ahead_ = ahead; }

  void copy(const Region& dst, const Region& src, Toward toward) override;
  void reduce(const Region& dst, std::span<const Region> srcs, Reduction reduction,
              std::span<const double* const> factors) override {
    gpu_.reduce(dst, srcs, reduction, factors);
  }
  void arrive(Flag& flag, uint32_t step) override;
  /// False, but for a leg that is ahead: what is waited for has not been queued yet. It comes first, since a GPU has
  /// few queues for all of a process's streams, and what waits at the head of one holds up all behind it.
  bool wait(std::span<Flag* const> flags, uint32_t step) override;

 private:
  /// The marks that nobody keeps any more.
  struct Spares {
    std::mutex mutex;
    std::vector<std::unique_ptr<CudaEvent>> events;
  };

  const int device_;
  CudaStream gpu_;
  CudaProbe probe_;
  const std::shared_ptr<Spares> spares_ = std::make_shared<Spares>();
  bool ahead_ = false;
  std::set<const Flag*> own_;   ///< moved by this stream, and so in its order
  std::vector<Flag*> awaited_;  ///< by the wait being queued
};

}  // namespace pinnedpg::tp
