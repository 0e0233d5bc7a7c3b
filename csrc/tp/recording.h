// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <string>
#include <vector>

#include "collective/recorder.h"

namespace pinnedpg::tp {

/// What every member of a team queues for a program of calls on one buffer, by name: "broadcast", "broadcast_in_place",
/// "broadcast_across", "gather", "gather_open" (-2), "all_gather", "gather_barrier", "barrier", "all_reduce" and
/// "all_reduce_twice" (member 0 has two tensors). All calls have the same tensors, of `bytes` bytes: "in r" and "out
/// r".
std::vector<Event> record(const std::vector<std::string>& program, const Geometry& geometry, bool two_lanes,
                          size_t bytes);

}  // namespace pinnedpg::tp
