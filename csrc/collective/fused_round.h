// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <optional>

#include "collective/communicator.h"
#include "device/fused.h"

namespace pinnedpg {

/// The only member's part in a call as one kernel does it; nothing where that takes more. Pure, and alike on all ranks
/// whose calls are alike. Who queues it adds what it is to wait for, and how long.
std::optional<FusedRound> fuse(const Call& call, const Staging& staging, int rank);

}  // namespace pinnedpg
