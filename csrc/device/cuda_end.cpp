// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/cuda_end.h"

#include "base/check.h"

namespace pinnedpg {

bool CudaEnd::is_over() const {
  if (over_.load(std::memory_order_acquire)) return true;
  if (!flag_->has_reached(number_)) return false;
  over_.store(true, std::memory_order_release);
  return true;
}

void CudaEnd::hold(void* stream) const {
  if (is_same_stream(stream, stream_) || is_over()) return;
  PINNEDPG_CHECK(!is_captured(stream), "a CUDA graph cannot wait for a call that is not in it and not over: ",
                 "wait for its work before the graph is captured");
  Flag* const flag = flag_.get();
  CudaStream(stream).wait({&flag, 1}, number_);
}

}  // namespace pinnedpg
