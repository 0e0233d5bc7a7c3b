// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "collective/wire.h"

#include <cstring>

namespace pinnedpg {

namespace {

/// The messages have deadlines, the wire has none.
constexpr std::chrono::hours kForever{24 * 365 * 10};

}  // namespace

Wire::Wire(std::shared_ptr<void> memory, Staging staging, int side, Watchdog::Names names)
    : memory_(std::move(memory)),
      staging_(staging),
      side_(side),
      membership_(staging, side, 1),
      watchdog_(staging, side, {}, std::move(names)),
      stream_(HostStream::Mode::kPoll, staging.control().bell, *this, WaitPolicy::for_ranks(2)),
      their_put_(&staging.put(1 - side)),
      their_got_(&staging.got(1 - side)),
      put_step_(staging.put(side).step.load()),
      got_step_(staging.got(side).step.load()) {}

bool Wire::put(const FrameHead& head, const Region& payload) {
  const uint32_t step = put_step_ + 1;
  if (!stream_.wait({&their_got_, 1}, step - staging_.geometry().depth)) return false;
  std::byte* slot = staging_.slot(side_, step);
  std::memcpy(slot, &head, sizeof head);
  stream_.copy(Region::flat(slot + sizeof head, payload.bytes()), payload, Toward::kStage);
  stream_.arrive(staging_.put(side_), step);
  put_step_ = step;
  return true;
}

const FrameHead* Wire::front() {
  if (!stream_.wait({&their_put_, 1}, got_step_ + 1)) return nullptr;
  return reinterpret_cast<const FrameHead*>(staging_.slot(1 - side_, got_step_ + 1));
}

Region Wire::payload() {
  std::byte* slot = staging_.slot(1 - side_, got_step_ + 1);
  return Region::flat(slot + sizeof(FrameHead), reinterpret_cast<const FrameHead*>(slot)->payload_bytes);
}

void Wire::copy_payload(const Region& to) { stream_.copy(to, payload(), Toward::kRank); }

void Wire::pop() { stream_.arrive(staging_.got(side_), ++got_step_); }

void Wire::look_after(const char* operation) {
  watchdog_.begin(operation, kForever);  // raises if the wire is aborted
  const std::string fate = watchdog_.fate_of(1 - side_);
  if (fate.empty() || front() != nullptr) return;  // what it put before it left is there to be taken
  watchdog_.give_up(concat(watchdog_.name_of(side_), " waits for ", watchdog_.name_of(1 - side_), ", ", fate));
}

void Wire::doze() { stream_.sleep({&their_put_, 1}, got_step_ + 1, 1); }

void Wire::sleep() { stream_.sleep({&their_put_, 1}, got_step_ + 1); }

}  // namespace pinnedpg
