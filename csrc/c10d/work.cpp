// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/work.h"

#include <ATen/core/ivalue.h>
#include <ATen/record_function.h>

#include "c10d/errors.h"
#include "device/queue.h"

namespace pinnedpg {

namespace {

/// Asking torch to record costs an allocation, so only where someone listens.
const char* title_if_recorded(const char* title) { return at::hasCallbacks() ? title : nullptr; }

}  // namespace

WorkPinned::WorkPinned(int rank, c10d::OpType op, const char* name, const char* title, uint64_t sequence,
                       std::vector<at::Tensor> inputs, std::vector<at::Tensor> outputs)
    : Work(rank, op, title_if_recorded(title),
           at::hasCallbacks() ? std::make_optional(std::move(inputs)) : std::nullopt),
      name_(name),
      sequence_(sequence),
      outputs_(std::move(outputs)) {}

bool WorkPinned::wait(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  const auto done = [this] { return completed_; };
  if (!completed_ && on_worker()) {
    throw c10::DistBackendError({__func__, __FILE__, __LINE__},
                                concat(name_,
                                       ": a callback of a work's future must not wait for another call; it runs "
                                       "on the thread that does the calls. Chain a future with .then() instead"));
  }
  if (timeout.count() <= 0) {
    cv_.wait(lock, done);
  } else if (!cv_.wait_for(lock, timeout, done)) {
    throw c10::DistBackendError({__func__, __FILE__, __LINE__},
                                concat(name_, ": not done after ", timeout.count() / 1000.0,
                                       " s, the time-out of this wait. The call itself goes on"));
  }
  if (exception_) std::rethrow_exception(exception_);
  return true;
}

std::vector<at::Tensor> WorkPinned::result() {
  TORCH_CHECK(isCompleted(), name_, ": the result is there once the work is done; wait for it first");
  return outputs_;
}

c10::intrusive_ptr<c10::ivalue::Future> WorkPinned::getFuture() {
  std::unique_lock lock(mutex_);
  if (!future_) future_ = c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
  settle_future(std::move(lock));
  return future_;
}

void WorkPinned::complete(std::exception_ptr error) {
  if (error) {
    try {
      rethrow_as_torch(error);
    } catch (...) {
      error = std::current_exception();
    }
  }
  finish(error);
  settle_future(std::unique_lock(mutex_));
}

void WorkPinned::settle_future(std::unique_lock<std::mutex> lock) {
  if (!future_ || !completed_ || settled_) return;
  settled_ = true;
  lock.unlock();  // callbacks of the future run in here
  if (exception_) {
    future_->setError(exception_);
  } else {
    future_->markCompleted(c10::IValue(outputs_));
  }
}

}  // namespace pinnedpg
