// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "base/interrupt.h"

#include <atomic>

namespace pinnedpg {

namespace {

std::atomic<void (*)()> interrupt_check{nullptr};

}  // namespace

void set_interrupt_check(void (*check)()) { interrupt_check.store(check); }

void check_interrupts() {
  const auto check = interrupt_check.load();
  if (check == nullptr) return;
  try {
    check();
  } catch (...) {
    throw Interrupted(std::current_exception());
  }
}

}  // namespace pinnedpg
