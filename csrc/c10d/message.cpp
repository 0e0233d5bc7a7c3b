// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/message.h"

#include <ATen/core/ivalue.h>

#include <algorithm>
#include <thread>

#include "base/interrupt.h"
#include "c10d/errors.h"
#include "c10d/mailbox.h"
#include "device/releaser.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

/// How long a thread waits before it looks for signals.
constexpr milliseconds kLookEvery{50};

}  // namespace

void WorkMessage::wait_until(steady_clock::time_point end, milliseconds timeout) {
  if (cuda_ && timeout.count() <= 0) return hold_stream();
  await(end, [] { return false; });
  WorkPinned::wait_until(end, timeout);
  if (cuda_) await_copy(end, timeout);
}

void WorkMessage::settle() {
  await(steady_clock::time_point::max(), [] { return false; });
}

void WorkMessage::await(steady_clock::time_point end, c10::function_ref<bool()> there) {
  const auto mailbox = mailbox_.lock();
  const auto over = [&] { return WorkPinned::isCompleted() || there(); };
  while (mailbox && !over() && steady_clock::now() < end) {
    with_torch_errors([&] { mailbox->help(source_, std::min(end, steady_clock::now() + kLookEvery), over); });
    // Here the worker moves what is under way: a thread that keeps Python's lock may hold this one for long.
    with_torch_errors(check_interrupts);
  }
}

void WorkMessage::await_copy(steady_clock::time_point end, milliseconds timeout) {
  hold(current_stream(cuda_->gpu()));
  while (!isCompleted()) {
    with_torch_errors(check_interrupts);
    if (steady_clock::now() >= end) throw_timed_out(timeout);
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

void WorkMessage::hold_stream() {
  promised_ = true;
  // A stream that waits may hold up other streams of its process, and so a message that is to come from there.
  const auto mailbox = mailbox_.lock();
  const auto comes_from_elsewhere = [&] { return mailbox->is_elsewhere(source_); };
  if (retrieveOpType() != c10d::OpType::SEND) await(steady_clock::time_point::max(), comes_from_elsewhere);
  raise_failure();
  hold(current_stream(cuda_->gpu()));
  raise_failure();
}

void WorkMessage::synchronize() {
  if (cuda_) hold_stream();
}

void WorkMessage::hold(void* stream) {
  with_torch_errors([&] { cuda_->hold(stream); });
}

void WorkMessage::raise_failure() const {
  if (const auto failure = exception()) std::rethrow_exception(failure);
}

bool WorkMessage::isCompleted() {
  if (!WorkPinned::isCompleted() || !cuda_) return WorkPinned::isCompleted();
  if (!exception()) with_torch_errors([&] { cuda_->attend(); });
  return exception() || cuda_->is_over();
}

c10::intrusive_ptr<c10::ivalue::Future> WorkMessage::make_future() const {
  if (!cuda_) return WorkPinned::make_future();
  return c10::make_intrusive<c10::ivalue::Future>(c10::ListType::create(c10::TensorType::get()),
                                                  future_devices({cuda_->gpu()}));
}

void WorkMessage::settle_future() {
  if (!cuda_ || exception()) return WorkPinned::settle_future();
  // The message is there, so no stream is held for long. The future notes how far the current one is.
  void* const stream = side_stream(cuda_->gpu());
  hold(stream);
  const CurrentStream current(cuda_->gpu(), stream);
  WorkPinned::settle_future();
}

void Message::complete() {
  std::exception_ptr fault;
  try {
    if (!error.empty()) throw GroupError(error);
    tensors.write_back();  // of a GPU's it has none
  } catch (...) {
    fault = std::current_exception();
  }
  tensors = Tensors(tensors.operation());
  auto ours = std::exchange(cuda, nullptr);
  auto told = std::exchange(work, nullptr);
  told->complete(fault);
  if (!ours) return;
  ours->come(fault == nullptr);  // after the work knows of the fault: a stream may go on now
  let_go_aside(std::make_pair(std::move(told), std::move(ours)));  // they have events and tensors to let go of
}

}  // namespace pinnedpg
