// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstdint>
#include <string>

namespace pinnedpg {

/// A process that can be told from every other one of this machine's, also from a later one of the same pid.
struct ProcessId {
  int32_t pid = 0;
  uint64_t start_time = 0;     ///< clock ticks after boot
  uint64_t pid_namespace = 0;  ///< a pid means something in its own namespace alone
  uint64_t boot = 0;           ///< the machine's boot id, hashed: equal on one machine only

  static ProcessId self();
  static ProcessId parse(const std::string& text);
  std::string to_string() const;

  bool operator==(const ProcessId&) const = default;
};

/// Changes with every fork, in the child alone: what was made under another count is the parent's.
uint32_t fork_count();

enum class Life { kAlive, kGone, kUnknown };

/// Whether the process still runs. A zombie is gone; one of another namespace or machine is unknown.
/// Reads one file of /proc (some 20 us), so it is for those who have waited long already.
Life life_of(const ProcessId& process);

}  // namespace pinnedpg
