// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "memory/process.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "base/check.h"

namespace pinnedpg {

namespace {

struct Stat {
  char state = 'X';
  uint64_t start_time = 0;
};

/// Field 3 (state) and field 22 (start time) of /proc/<pid>/stat. The name in field 2 may hold anything, so count from
/// its closing parenthesis. A process that does not exist reads as dead.
Stat read_stat(int32_t pid) {
  std::ifstream file(concat("/proc/", pid, "/stat"));
  std::string line;
  if (!std::getline(file, line)) return {};
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  Stat stat;
  fields >> stat.state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  fields >> stat.start_time;
  return stat;
}

uint64_t own_pid_namespace() {
  struct stat info{};
  return ::stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

uint64_t boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  std::getline(file, text);
  return std::hash<std::string>{}(text);
}

}  // namespace

ProcessId ProcessId::self() {
  const auto pid = static_cast<int32_t>(::getpid());
  return {pid, read_stat(pid).start_time, own_pid_namespace(), boot_id()};
}

ProcessId ProcessId::parse(const std::string& text) {
  ProcessId id;
  std::istringstream in(text);
  in >> id.pid >> id.start_time >> id.pid_namespace >> id.boot;
  return id;
}

std::string ProcessId::to_string() const { return concat(pid, ' ', start_time, ' ', pid_namespace, ' ', boot); }

Life life_of(const ProcessId& process) {
  if (process.pid == 0 || process.boot != boot_id() || process.pid_namespace != own_pid_namespace()) {
    return Life::kUnknown;
  }
  const Stat stat = read_stat(process.pid);
  const bool runs = stat.state != 'Z' && stat.state != 'X' && stat.start_time == process.start_time;
  return runs ? Life::kAlive : Life::kGone;
}

}  // namespace pinnedpg
