// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <pybind11/pybind11.h>

namespace pinnedpg {

/// Each adds one part of `pinnedpg._C`. Bindings only: no logic, the GIL released.
void bind_c10d(pybind11::module_& module);
void bind_tp(pybind11::module_& module);
void bind_testing(pybind11::module_& module);

}  // namespace pinnedpg
