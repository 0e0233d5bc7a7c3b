// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <unistd.h>

#include "memory/process.h"
#include "memory/staging.h"

namespace pinnedpg {

/// Some ranks of a staging are this process's: present while this lives, then gone, which whoever waits for them is
/// told.
class Membership {
 public:
  Membership(Staging staging, int first_rank, int count) : staging_(staging), first_(first_rank), count_(count) {
    const ProcessId self = ProcessId::self();
    for (int rank = first_; rank < first_ + count_; ++rank) {
      staging_.member(rank).process = self;
      staging_.member(rank).presence.store(Presence::kPresent);
    }
  }

  ~Membership() {
    // A forked child that drops its copy of the group does not speak for the rank.
    if (staging_.member(first_).process.pid != ::getpid()) return;
    for (int rank = first_; rank < first_ + count_; ++rank) staging_.member(rank).presence.store(Presence::kLeft);
    staging_.control().bell.ring();
  }

  Membership(const Membership&) = delete;
  Membership& operator=(const Membership&) = delete;

 private:
  const Staging staging_;
  const int first_;
  const int count_;
};

}  // namespace pinnedpg
