// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "base/log.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace pinnedpg {

namespace {

constexpr const char* kLevels[] = {"", "VERSION", "WARN", "INFO", "TRACE"};
constexpr const char* kSubsystems[] = {"INIT", "SHM", "COLL", "TP"};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string host() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

void write(std::FILE* file, LogLevel level, const std::string& text) {
  const auto line = concat(host(), ':', ::getpid(), ':', ::syscall(SYS_gettid), " PINNED ",
                           kLevels[static_cast<int>(level)], ' ', text, '\n');
  std::fputs(line.c_str(), file);
  std::fflush(file);
}

/// What the environment asked for when the process first logged.
struct Settings {
  LogLevel level = LogLevel::kWarn;
  bool shown[4] = {true, true, true, true};
  std::FILE* file = stderr;
  bool shows_version = false;

  Settings() {
    open_file(environment("PINNEDPG_DEBUG_FILE"));
    const std::string asked = environment("PINNEDPG_DEBUG");
    for (int i = 1; i <= 4; ++i) {
      if (asked == kLevels[i]) level = static_cast<LogLevel>(i);
    }
    if (!asked.empty() && asked != kLevels[static_cast<int>(level)]) {
      warn(concat("PINNEDPG_DEBUG must be VERSION, WARN, INFO or TRACE; got ", asked));
    }
    shows_version = !asked.empty();
    const std::string subsystems = environment("PINNEDPG_DEBUG_SUBSYS");
    const bool all_but = subsystems.starts_with('^');
    for (int i = 0; !subsystems.empty() && i < 4; ++i) {
      shown[i] = (subsystems.find(kSubsystems[i]) != std::string::npos) != all_but || subsystems == "ALL";
    }
  }

  void open_file(std::string path) {
    for (const auto& [mark, text] : {std::pair<const char*, std::string>{"%h", host()}, {"%p", concat(::getpid())}}) {
      for (size_t at = path.find(mark); at != std::string::npos; at = path.find(mark)) path.replace(at, 2, text);
    }
    if (path.empty()) return;
    std::FILE* opened = std::fopen(path.c_str(), "ae");
    if (opened != nullptr) file = opened;
    if (opened == nullptr) warn(concat("PINNEDPG_DEBUG_FILE must be a file that can be written; got ", path));
  }

  void warn(const std::string& text) const { write(file, LogLevel::kWarn, text); }
};

const Settings& settings() {
  static const Settings& instance = *new Settings;
  return instance;
}

}  // namespace

bool logs(LogLevel level, Subsystem subsystem) {
  if (level == LogLevel::kVersion) return settings().shows_version;
  return level <= settings().level && settings().shown[static_cast<int>(subsystem)];
}

void log(LogLevel level, const std::string& text) { write(settings().file, level, text); }

}  // namespace pinnedpg
