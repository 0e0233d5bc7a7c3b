// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstddef>
#include <memory>

namespace pinnedpg {

/// Memory that is pinned for the GPUs while anyone keeps the result: members of one process share it, since memory can
/// be pinned once only. `memory` is kept mapped for as long. Raises SystemError.
std::shared_ptr<void> pin_shared(const std::shared_ptr<void>& memory, void* data, size_t bytes);

}  // namespace pinnedpg
