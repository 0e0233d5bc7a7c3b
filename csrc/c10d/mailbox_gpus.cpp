// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What messages with tensors on GPUs need of CUDA.
#include <algorithm>
#include <iterator>
#include <utility>

#include "c10d/mailbox.h"
#include "device/threads.h"

namespace pinnedpg {

using std::chrono::steady_clock;

namespace {

/// How often messages of GPUs are seen to: where one has come, and where not. Guesses.
constexpr std::chrono::microseconds kCopyEvery{100}, kAttendEvery{1000};

}  // namespace

bool Mailbox::serves_gpus() {
  std::lock_guard lock(mutex_);
  return !on_gpus_.empty() || !settled_.empty();
}

/// What needs a call of CUDA's is done aside, since that may block until a message has moved.
void Mailbox::attend_gpus() {
  std::erase_if(on_gpus_, [this](auto& one) {
    const bool settled = one->is_settled();
    if (settled) settled_.push_back(std::move(one));
    return settled;
  });
  if (attended_.valid() && !is_ready(attended_)) return;
  if (attended_.valid()) attended_.get();
  if (on_gpus_.empty() && settled_.empty()) return;
  const auto now = steady_clock::now();
  const bool late = std::any_of(on_gpus_.begin(), on_gpus_.end(), [](auto& one) { return one->wants_copy(); });
  if (now - last_attended_ < (late ? kCopyEvery : kAttendEvery)) return;
  last_attended_ = now;
  const size_t settled = settled_.size();
  const auto all = std::make_shared<std::vector<std::shared_ptr<CudaMessage>>>(std::exchange(settled_, {}));
  const auto is_due = [](const auto& one) { return one->is_to_be_attended(); };
  std::copy_if(on_gpus_.begin(), on_gpus_.end(), std::back_inserter(*all), is_due);
  if (all->empty()) return;
  const auto attend = [all, settled] {
    std::exception_ptr fault;
    for (size_t i = 0; i < all->size(); ++i) {
      try {
        i < settled ? (*all)[i]->let_go() : (*all)[i]->attend();
      } catch (...) {
        fault = std::current_exception();
      }
    }
    all->clear();  // here, and not where a copy of this dies: that destroys events
    if (fault) std::rethrow_exception(fault);
  };
  try {
    attended_ = aside(attend);
  } catch (const SystemError&) {  // no thread can be had
    attend();
  }
}

}  // namespace pinnedpg
