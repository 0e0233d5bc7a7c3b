// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <c10/core/ScalarType.h>

#include <array>
#include <optional>

#include "base/dtype.h"

namespace pinnedpg {

/// torch's type as ours; nothing for types that are moved as bytes but not reduced.
std::optional<DType> dtype_of(c10::ScalarType type);

/// The name of a type as Python shows it, without "torch."; ends with a 0 unless it fills the array.
std::array<char, 16> dtype_label(c10::ScalarType type);

}  // namespace pinnedpg
