// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/message.h"

#include <algorithm>

#include "base/interrupt.h"
#include "c10d/errors.h"
#include "c10d/mailbox.h"
#include "device/wait_policy.h"

namespace pinnedpg {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

/// How long a thread waits before it looks for signals.
constexpr milliseconds kLookEvery{50};

}  // namespace

void WorkMessage::wait_until(steady_clock::time_point end, milliseconds timeout) {
  const auto mailbox = mailbox_.lock();
  while (mailbox && !isCompleted() && steady_clock::now() < end) {
    with_torch_errors([&] { help(*mailbox, std::min(end, steady_clock::now() + kLookEvery)); });
    // Here the worker moves what is under way: a thread that keeps Python's lock may hold this one for long.
    with_torch_errors(check_interrupts);
  }
  WorkPinned::wait_until(end, timeout);
}

void WorkMessage::help(Mailbox& mailbox, steady_clock::time_point end) {
  const Mailbox::Waiter waiter(mailbox);
  const WaitPolicy policy = WaitPolicy::for_ranks(mailbox.world_size());
  int idle = 0;
  while (!isCompleted() && steady_clock::now() < end) {
    if (mailbox.drive()) {
      idle = 0;
      continue;
    }
    ++idle;
    if (idle <= policy.spins) pause();
    if (idle <= policy.spins) continue;
    if (!yield_core() || idle > policy.spins + policy.yields) mailbox.sleep(source_);
  }
}

void Message::complete() {
  std::exception_ptr fault;
  try {
    if (!error.empty()) throw GroupError(error);
    tensors.write_back();
  } catch (...) {
    fault = std::current_exception();
  }
  tensors = Tensors(tensors.operation());
  std::exchange(work, nullptr)->complete(fault);
}

}  // namespace pinnedpg
