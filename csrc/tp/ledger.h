// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "memory/label.h"

namespace pinnedpg::tp {

/// What the legs of one call must have in common. Legs that differ are not legs of one call.
struct Signature {
  CallKind kind = CallKind::kTpCrossDeviceBarrier;
  int part = 0;  ///< which of the call's exchanges
  int buffer = -1;
  int type = -1;
  int type_target = -1;
  int route = -1;  ///< of a broadcast: who puts; -1: nobody
  int stage = -1;  ///< of a barrier: -1 is the next one until `Ledger::resolve`
  int next_stage = -1;
  int64_t rows = 0;
  int64_t cols = 0;
  std::array<char, 16> dtype{};

  bool operator==(const Signature&) const = default;
  std::string to_string() const;
  Label label() const;
};

/// What a team's members have been asked to do: each its own sequence of legs, all of the same calls. It finds out
/// while a leg is being issued that it does not fit, before anything is queued. Guarded by the context's mutex.
class Ledger {
 public:
  Ledger(size_t world_size, size_t buffers);

  /// The signature with the stages that the rank's counter gives it.
  Signature resolve(size_t rank, Signature signature) const;

  /// Raises ValueError if another member's leg of the call that is `ahead` calls after the rank's last was different.
  void check(const char* function, const std::vector<int>& devices, size_t rank, size_t ahead,
             const Signature& signature) const;

  /// The rank's next leg, which takes `steps` steps and touches those buffers (none: an empty list).
  void issue(size_t rank, const Signature& signature, size_t steps, const std::vector<int>& buffers);

  /// Whether some call has legs of some members only.
  bool is_open() const { return !calls_.empty(); }
  /// The rank whose leg of the oldest open call is missing.
  size_t missing() const;
  const Signature& oldest() const { return calls_.front(); }

  /// The last step, so far, in which a member touched the buffer; 0 if none did.
  uint64_t last_use(size_t rank, int buffer) const;
  /// The same over all members when no call of the context was open.
  uint64_t settled_use(int buffer) const { return settled_[static_cast<size_t>(buffer)]; }
  /// To be told when no call of the context is open.
  void settle();

 private:
  std::vector<uint64_t> issued_;             ///< legs, by rank
  std::vector<uint64_t> steps_;              ///< of those legs, by rank
  std::vector<int> next_stage_;              ///< of barriers, by rank
  std::vector<std::vector<uint64_t>> uses_;  ///< by rank and buffer
  std::vector<uint64_t> settled_;            ///< by buffer
  uint64_t complete_ = 0;                    ///< calls with a leg of every member
  std::deque<Signature> calls_;              ///< the later ones
};

}  // namespace pinnedpg::tp
