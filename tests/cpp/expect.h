// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cstdio>
#include <cstdlib>

#include "base/check.h"

/// Ends the program where the condition does not hold, and says so with the remaining arguments concatenated.
#define EXPECT(condition, ...)                                                                                  \
  do {                                                                                                          \
    if (!(condition)) {                                                                                         \
      std::fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, ::pinnedpg::concat(__VA_ARGS__).c_str()); \
      std::_Exit(1);                                                                                            \
    }                                                                                                           \
  } while (false)
