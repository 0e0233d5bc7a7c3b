// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/message.h"

#include <sched.h>

#include <algorithm>

#include "base/interrupt.h"
#include "base/limit.h"
#include "c10d/errors.h"
#include "c10d/mailbox.h"
#include "device/wait_policy.h"

namespace pinnedpg {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

bool WorkMessage::wait(milliseconds timeout) {
  const auto mailbox = mailbox_.lock();
  const auto end = timeout.count() > 0 ? steady_clock::now() + bounded(timeout) : steady_clock::time_point::max();
  if (mailbox && !isCompleted()) {
    const Mailbox::Waiter waiter(*mailbox);
    with_torch_errors([&] { help(*mailbox, end); });
  }
  const auto left = std::chrono::duration_cast<milliseconds>(end - steady_clock::now());
  return WorkPinned::wait(timeout.count() > 0 ? std::max(left, milliseconds(1)) : timeout);
}

void WorkMessage::help(Mailbox& mailbox, steady_clock::time_point end) {
  const WaitPolicy policy = WaitPolicy::for_ranks(mailbox.world_size());
  int idle = 0;
  while (!isCompleted() && steady_clock::now() < end) {
    if (mailbox.drive()) {
      idle = 0;
      continue;
    }
    ++idle;
    if (idle <= policy.spins) pause();
    if (idle > policy.spins) ::sched_yield();
    if (idle <= policy.spins + policy.yields) continue;
    mailbox.sleep(source_);
    check_interrupts();
  }
}

void Message::complete() {
  std::exception_ptr fault;
  if (error.empty()) {
    tensors.write_back();
  } else {
    fault = std::make_exception_ptr(GroupError(error));
  }
  tensors = Tensors(tensors.operation());
  std::exchange(work, nullptr)->complete(fault);
}

}  // namespace pinnedpg
