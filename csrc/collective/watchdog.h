// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/check.h"
#include "device/stream.h"
#include "memory/staging.h"

namespace pinnedpg {

/// Ends waits on flags that are in vain: the one place of looks at the peers' lives. It has no thread: whoever
/// waits patrols. What it finds it makes known to all ranks by aborting the group, and raises it as GroupError.
class Watchdog final : public Guard {
 public:
  /// What is known of a rank that has not joined the segment.
  struct Absentee {
    ProcessId process;  ///< pid 0: not known
    std::string left;   ///< why it will not come: "has destroyed the group"; empty: it may
  };
  using Lookup = std::function<Absentee(int rank)>;

  /// What a user knows a rank by, for error texts: "device 3". Empty: "rank 3".
  using Names = std::function<std::string(int rank)>;

  Watchdog(Staging staging, int rank, Lookup lookup, Names names = {})
      : staging_(staging), rank_(rank), lookup_(std::move(lookup)), names_(std::move(names)) {}

  /// A call begins: its name for error texts, and how long each may take.
  void begin(const char* name, std::chrono::milliseconds timeout);

  void patrol(std::span<Flag* const> flags, uint32_t step) override;

  /// As patrol, where it is not flags that tell which ranks are late. Who waits is asked last.
  void look_for(const std::function<bool(int rank)>& is_late);

  /// Raises if the group is aborted, or a GPU has found that it cannot go on.
  void check_abort() const;

  /// Why nothing more is to be expected of a rank: "which has left the group"; empty: it may come. What it did before
  /// it went is to be looked for after this has been asked.
  std::string fate_of(int rank) const;

  /// Aborts the group for that reason, and raises it.
  [[noreturn]] void give_up(const std::string& reason) const;

  std::string name_of(int rank) const { return names_ ? names_(rank) : concat("rank ", rank); }

 private:
  /// The rank whose flag that is; nothing for a flag of another group (see Exchange::After).
  std::optional<int> writer_of(const Flag* flag) const;
  /// Whether it is time for another look at the ranks.
  bool is_due();
  void look_after(int rank, const Flag& flag, uint32_t step);
  bool timed_out() const;
  [[noreturn]] void give_up_waiting_for(const std::string& awaited) const;
  ProcessId process_of(int rank) const;
  std::string whereabouts(int rank, uint32_t at, uint32_t step) const;
  std::string last_call(int rank) const;
  bool is_absent(int rank) const { return staging_.member(rank).presence.load() == Presence::kAbsent; }
  Absentee absentee(int rank) const;

  const Staging staging_;
  const int rank_;
  const Lookup lookup_;
  const Names names_;
  const char* name_ = "init";
  std::chrono::milliseconds timeout_{0};
  std::chrono::steady_clock::time_point began_;
  std::chrono::steady_clock::time_point last_look_;
};

}  // namespace pinnedpg
