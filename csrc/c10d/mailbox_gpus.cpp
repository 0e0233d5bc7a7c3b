// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What messages with tensors on GPUs need of CUDA.
#include <algorithm>

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
  std::erase_if(on_gpus_, [this](const auto& one) {
    if (one->is_settled()) settled_.push_back(one);
    return one->is_settled();
  });
  if (attended_.valid() && !is_ready(attended_)) return;
  if (attended_.valid()) attended_.get();
  if (on_gpus_.empty() && settled_.empty()) return;
  const auto now = steady_clock::now();
  const bool late = std::any_of(on_gpus_.begin(), on_gpus_.end(), [](auto& one) { return one->wants_copy(); });
  if (now - last_attended_ < (late ? kCopyEvery : kAttendEvery)) return;
  last_attended_ = now;
  const auto attend = [all = std::vector(on_gpus_.begin(), on_gpus_.end()), settled = std::exchange(settled_, {})] {
    for (const auto& one : settled) one->let_go();
    for (const auto& one : all) one->attend();
  };
  try {
    attended_ = aside(attend);
  } catch (const SystemError&) {  // no thread can be had
    attend();
  }
}

}  // namespace pinnedpg
