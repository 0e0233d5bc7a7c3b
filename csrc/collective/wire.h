// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "collective/membership.h"
#include "collective/watchdog.h"
#include "device/host_stream.h"

namespace pinnedpg {

/// What a frame says, at the head of its slot.
struct alignas(64) FrameHead {
  enum class Kind : uint32_t {
    kWhole,   ///< a message with all its bytes
    kOffer,   ///< a message too large for a frame: its bytes come once it is accepted
    kAccept,  ///< from the receiver: a receive has been posted for the message
    kPart,    ///< bytes of an accepted message, in order
  };

  Kind kind = Kind::kWhole;
  int32_t tag = 0;
  uint64_t id = 0;     ///< of the message, the sender's count
  uint64_t bytes = 0;  ///< of the message in all
  uint64_t payload_bytes = 0;
  std::array<char, 16> dtype{};
};
static_assert(sizeof(FrameHead) == 64);

/// Two ranks, each of which puts frames for the other, in order. Never blocks. One thread at a time.
class Wire final : private Guard {
 public:
  /// `side` is 0 or 1: which of the two this is.
  Wire(std::shared_ptr<void> memory, Staging staging, int side, Watchdog::Names names);

  /// The most bytes that a frame carries.
  size_t room() const { return staging_.geometry().slot_bytes - sizeof(FrameHead); }

  /// False: as many frames as there are slots have yet to be taken by the other side.
  bool put(const FrameHead& head, const Region& payload);

  /// The oldest frame that is to be taken; null while there is none. Its payload lies right behind it.
  const FrameHead* front();
  Region payload();
  /// Copies the payload of the front frame, `bytes` of it, where the tensor wants it.
  void copy_payload(const Region& to);
  void pop();

  /// Whether the other side has gone, and takes nothing any more.
  bool is_deserted() const { return staging_.member(1 - side_).presence.load() == Presence::kLeft; }

  bool met() const { return staging_.member(1 - side_).presence.load() != Presence::kAbsent; }

  /// Of one that has been met: whether it is of this process.
  bool is_local() const { return staging_.member(1 - side_).process == staging_.member(side_).process; }

  /// For one that waits for the other side: raises GroupError when that is in vain.
  void look_after(const char* operation);
  void abort(const std::string& reason) { abort_group(staging_.control(), reason); }

  /// Sleeps until the other side has put or taken a frame, or a moment is over.
  void sleep();
  /// A millisecond at most.
  void doze();
  /// From another thread: ends a sleep.
  void rouse() { stream_.rouse(); }

 private:
  void patrol(std::span<Flag* const>, uint32_t) override {}

  const std::shared_ptr<void> memory_;
  const Staging staging_;
  const int side_;
  const Membership membership_;
  Watchdog watchdog_;
  HostStream stream_;
  Flag* const their_put_;
  Flag* const their_got_;
  uint32_t put_step_;               ///< the last one
  std::atomic<uint32_t> got_step_;  ///< also read by who sleeps
};

}  // namespace pinnedpg
