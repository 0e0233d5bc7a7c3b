// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <string>

#include "base/check.h"

namespace pinnedpg {

/// What PINNEDPG_DEBUG asks for: VERSION < WARN < INFO < TRACE, each with those before it. Unset: warnings alone.
enum class LogLevel { kVersion = 1, kWarn, kInfo, kTrace };

/// Parts of the house, as PINNEDPG_DEBUG_SUBSYS names them ("INIT,COLL"; a leading ^ means all but these).
enum class Subsystem { kInit, kShm, kColl, kTp };

/// Whether anyone would see it. Reads the environment at the first call of the process.
bool logs(LogLevel level, Subsystem subsystem);

/// Writes "host:pid:tid PINNED INFO text" to stderr, or to PINNEDPG_DEBUG_FILE (%h host, %p pid).
void log(LogLevel level, const std::string& text);

}  // namespace pinnedpg

/// Logs the concatenated arguments; they are not evaluated where nobody would see them.
#define PINNEDPG_LOG(level, subsystem, ...)                                                           \
  do {                                                                                                \
    if (::pinnedpg::logs(::pinnedpg::LogLevel::level, ::pinnedpg::Subsystem::subsystem)) [[unlikely]] \
      ::pinnedpg::log(::pinnedpg::LogLevel::level, ::pinnedpg::concat(__VA_ARGS__));                  \
  } while (false)
