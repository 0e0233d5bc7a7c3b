// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/cuda_work.h"

#include <ATen/core/ivalue.h>

#include <algorithm>

#include "c10d/errors.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

void WorkCuda::hold_streams(const CudaMarks& marks) {
  for (const auto& [gpu, mark] : marks) {
    const CurrentDevice current(gpu);
    mark->hold(current_stream(gpu));
  }
}

bool WorkCuda::isCompleted() {
  if (WorkPinned::isCompleted()) return true;
  const auto is_over = [](const auto& done) { return done.second->is_over(); };
  if (!with_torch_errors([&] { return std::all_of(done_.begin(), done_.end(), is_over); })) return false;
  // An abort lets the streams go, too: it is complete then once its error is known.
  return !control_ || control_->halt.load() == Halt::kNone;
}

void WorkCuda::wait_until(std::chrono::steady_clock::time_point end, std::chrono::milliseconds timeout) {
  if (WorkPinned::isCompleted() || timeout.count() > 0) WorkPinned::wait_until(end, timeout);
  with_torch_errors([&] { hold_streams(done_); });
}

c10::intrusive_ptr<c10::ivalue::Future> WorkCuda::getFuture() {
  const auto error = exception();
  if (!error) {
    std::lock_guard lock(mutex_);
    if (stream_future_) return stream_future_;
  }
  std::vector<int> gpus;
  for (const auto& [gpu, mark] : done_) gpus.push_back(gpu);
  auto future =
      c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()), future_devices(gpus));
  if (error) {
    future->setError(error);
    return future;
  }
  // It notes how far the current streams are: those of torch's that come after the call.
  std::vector<std::unique_ptr<CurrentStream>> streams;
  for (const auto& [gpu, mark] : done_) {
    void* const stream = side_stream(gpu);
    const CurrentDevice current(gpu);
    mark->hold(stream);
    streams.push_back(std::make_unique<CurrentStream>(gpu, stream));
  }
  future->markCompleted(c10::IValue(outputs()));
  std::lock_guard lock(mutex_);
  return stream_future_ = std::move(future);
}

}  // namespace pinnedpg
