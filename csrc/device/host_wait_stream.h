// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include "device/cuda_stream.h"
#include "device/host_stream.h"

namespace pinnedpg {

/// A GPU that copies and reduces, and a host that waits for flags and moves them: for a GPU that cannot wait itself.
class HostWaitStream final : public Stream {
 public:
  HostWaitStream(HostStream& host, CudaStream& gpu) : host_(host), gpu_(gpu) {}

  void copy(const Region& dst, const Region& src, Toward toward) override { gpu_.copy(dst, src, toward); }
  void reduce(const Region& dst, std::span<const Region> srcs, Reduction reduction,
              std::span<const double* const> factors) override {
    gpu_.reduce(dst, srcs, reduction, factors);
  }
  void arrive(Flag& flag, uint32_t step) override {
    synchronize(gpu_.handle());
    host_.arrive(flag, step);
  }
  bool wait(std::span<Flag* const> flags, uint32_t step) override { return host_.wait(flags, step); }

 private:
  HostStream& host_;
  CudaStream& gpu_;
};

}  // namespace pinnedpg
