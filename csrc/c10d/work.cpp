// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/work.h"

#include <ATen/core/ivalue.h>

#include "base/limit.h"
#include "c10d/errors.h"
#include "device/threads.h"

namespace pinnedpg {

namespace {

/// How long a thread waits before it looks for signals.
constexpr std::chrono::milliseconds kLookEvery{50};

}  // namespace

bool WorkPinned::wait(std::chrono::milliseconds timeout) {
  using std::chrono::steady_clock;
  wait_until(timeout.count() > 0 ? steady_clock::now() + bounded(timeout) : steady_clock::time_point::max(), timeout);
  return true;
}

void WorkPinned::wait_until(std::chrono::steady_clock::time_point end, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  const auto done = [this] { return completed_; };
  while (!cv_.wait_until(lock, std::min(end, std::chrono::steady_clock::now() + kLookEvery), done)) {
    if (std::chrono::steady_clock::now() >= end) throw_timed_out(timeout);
    lock.unlock();
    with_torch_errors(check_interrupts);
    lock.lock();
  }
  if (exception_) std::rethrow_exception(exception_);
}

void WorkPinned::throw_timed_out(std::chrono::milliseconds timeout) const {
  throw c10::DistBackendError({__func__, __FILE__, __LINE__},
                              concat(name_, ": not done after ", timeout.count() / 1000.0,
                                     " s, the time-out of this wait. The call itself goes on"));
}

bool WorkPinned::isCompleted() {
  std::lock_guard lock(mutex_);
  return over_;
}

std::vector<at::Tensor> WorkPinned::result() {
  TORCH_CHECK(isCompleted(), name_, ": the result is there once the work is done; wait for it first");
  if (auto error = exception()) std::rethrow_exception(error);
  return outputs_;
}

float WorkPinned::getDuration() const {
  std::lock_guard lock(mutex_);
  TORCH_CHECK(over_, name_, ": the duration is known once the work is done; wait for it first");
  return std::chrono::duration<float, std::milli>(ended_ - begun_).count();
}

c10::intrusive_ptr<c10::ivalue::Future> WorkPinned::getFuture() {
  std::unique_lock lock(mutex_);
  if (future_) return future_;
  future_ = make_future();
  const bool over = over_;
  lock.unlock();
  if (over) settle_future();
  return future_;
}

c10::intrusive_ptr<c10::ivalue::Future> WorkPinned::make_future() const {
  return c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()));
}

void WorkPinned::complete(std::exception_ptr error) {
  if (error) {
    try {
      rethrow_as_torch(error);
    } catch (...) {
      error = std::current_exception();
    }
  }
  std::unique_lock lock(mutex_);
  over_ = true;
  ended_ = std::chrono::steady_clock::now();
  exception_ = error;
  const bool asked = future_ != nullptr;
  lock.unlock();
  if (!asked) return finish(error);
  // Callbacks of the future may take their time, and wait for other calls: not on the thread that does these. Who waits
  // for the work finds its future completed.
  const auto settle = [self = c10::intrusive_ptr<WorkPinned>::reclaim_copy(this)] {
    try {
      self->settle_future();
    } catch (...) {  // the GPU has failed since
      self->future_->setErrorIfNeeded(std::current_exception());
    }
    self->finish(self->exception_);
  };
  try {
    run_aside(settle);
  } catch (const SystemError&) {  // no thread can be had
    settle();
  }
}

void WorkPinned::settle_future() {
  if (exception_) {
    future_->setError(exception_);
  } else {
    future_->markCompleted(c10::IValue(outputs_));
  }
}

}  // namespace pinnedpg
