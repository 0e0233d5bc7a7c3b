// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/check.h"
#include "c10d/rendezvous.h"
#include "collective/communicator.h"
#include "device/host_stream.h"

namespace pinnedpg {

/// The communicator for calls with `tensors` tensors on each rank, each a member of its own. It has no segment before
/// its first call: `connect` makes (or opens) it, and blocks until the first rank has come as well.
class Team {
 public:
  /// `number` tells the teams of a group apart: equal on all ranks. Those of GPUs are apart from those of the host.
  Team(const Rendezvous& rendezvous, int tensors, int number, bool on_gpus = false)
      : rendezvous_(rendezvous), tensors_(tensors), number_(number), on_gpus_(on_gpus) {}

  int tensors() const { return tensors_; }

  bool connected() const { return communicator_.load(std::memory_order_acquire) != nullptr; }
  void connect(const char* operation, std::chrono::milliseconds timeout);

  /// After `connect`: the stream of calls that the worker carries on.
  HostStream& polling() { return *polling_; }
  /// After `connect`: the stream of calls that their callers do themselves.
  HostStream& blocking() { return *blocking_; }
  /// After `connect`.
  Communicator& communicator() { return *communicator_.load(std::memory_order_relaxed); }
  /// After `connect`: what all of it lies in.
  const std::shared_ptr<Segment>& segment() const { return segment_; }
  /// Another look-out over the same ranks, for a thread of its own.
  Watchdog watchdog() const;
  /// Carries a call on: to its end, or as far as it goes without blocking.
  bool advance(Call& call, HostStream::Mode mode);

  /// Raises the error of a call that is under way. Unless all ranks find it alike, the group cannot go on.
  [[noreturn]] void fail(const char* operation, std::exception_ptr error);

  /// Why a rank has aborted: an empty reason where it died over that. Nothing: none has.
  std::optional<std::string> failure() const;
  /// Raises if any rank has aborted.
  void check() const;
  /// Whether that rank took part and has gone.
  bool has_left(int rank) const;
  /// Every call that is under way or comes later raises the reason.
  void abort(const std::string& reason);

 private:
  std::shared_ptr<Segment> create(std::chrono::milliseconds timeout) const;
  std::shared_ptr<Segment> open(const char* operation, std::chrono::milliseconds timeout) const;
  /// Raises GroupError where rank 0 has made the group of so many ranks, and those are not as many.
  void check_world(const char* operation, int theirs) const;
  void check_abort(const char* operation) const;
  void check_waiting(const char* operation, std::chrono::milliseconds waited, std::chrono::milliseconds timeout) const;
  void seat(std::shared_ptr<Segment> segment);
  Watchdog::Lookup lookup() const;
  std::string key() const { return concat(on_gpus_ ? "gpus/" : "segment/", number_); }

  const Rendezvous rendezvous_;
  const int tensors_;
  const int number_;
  const bool on_gpus_;
  std::mutex connecting_;
  mutable std::mutex reason_mutex_;
  std::string abort_reason_;
  std::shared_ptr<Segment> segment_;
  std::unique_ptr<Communicator> owned_;
  std::unique_ptr<HostStream> blocking_, polling_;
  std::vector<Lanes> blocking_lanes_, polling_lanes_;
  std::atomic<Communicator*> communicator_{nullptr};
};

}  // namespace pinnedpg
