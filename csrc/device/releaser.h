// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <chrono>
#include <memory>
#include <utility>

namespace pinnedpg {

void release(std::shared_ptr<void> kept);

/// Lets go of it on a thread that does nothing else, since that may have to wait: for the lock of an allocator, of a
/// GPU's context, or of Python. Here, where no thread can be had.
template <typename Kept>
void let_go_aside(Kept kept) {
  release(std::make_shared<Kept>(std::move(kept)));
}

/// Lets the thread of this process finish what it can within `grace`; what it holds then, or gets later, is never let
/// go of. For the end of a process.
void retire_releaser(std::chrono::milliseconds grace);

}  // namespace pinnedpg
