// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <exception>
#include <stdexcept>

namespace pinnedpg {

/// The user's program ends a wait: it has been sent a signal, and answers it by an exception (`cause`).
struct Interrupted : std::runtime_error {
  explicit Interrupted(std::exception_ptr reason) : std::runtime_error("interrupted"), cause(std::move(reason)) {}

  const std::exception_ptr cause;
};

/// What looks for signals, and raises what the user's program makes of them. Called on any thread.
void set_interrupt_check(void (*check)());

/// For threads of the caller's that have waited for long, now and then: raises Interrupted.
void check_interrupts();

}  // namespace pinnedpg
