// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "memory/process.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <functional>
#include <sstream>

#include "base/check.h"

namespace pinnedpg {

namespace {

std::atomic<uint32_t> forks{0};
[[maybe_unused]] const int kCounts = ::pthread_atfork(nullptr, nullptr, [] { ++forks; });

struct Stat {
  Life life = Life::kUnknown;
  uint64_t start_time = 0;
};

/// Field 3 (state) and field 22 (start time) of /proc/<pid>/stat. The name in field 2 may hold anything, so count from
/// its closing parenthesis. Unknown: it cannot be read, for want of file descriptors for one.
Stat read_stat(int32_t pid) {
  errno = 0;
  std::ifstream file(concat("/proc/", pid, "/stat"));
  std::string line;
  if (!std::getline(file, line)) return {errno == ENOENT || errno == ESRCH ? Life::kGone : Life::kUnknown};
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  char state = 'X';
  fields >> state;
  std::string skipped;
  for (int field = 4; field < 22; ++field) fields >> skipped;
  Stat stat{state == 'Z' || state == 'X' ? Life::kGone : Life::kAlive};
  fields >> stat.start_time;
  return stat;
}

/// 0: it cannot be read.
uint64_t own_pid_namespace() {
  struct stat info{};
  return ::stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

/// 0: it cannot be read. It never changes.
uint64_t boot_id() {
  static std::atomic<uint64_t> known{0};
  if (known.load() != 0) return known.load();
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  if (std::getline(file, text)) known.store(std::hash<std::string>{}(text));
  return known.load();
}

}  // namespace

uint32_t fork_count() { return forks.load(std::memory_order_relaxed); }

ProcessId ProcessId::self() {
  const auto pid = static_cast<int32_t>(::getpid());
  const ProcessId self{pid, read_stat(pid).start_time, own_pid_namespace(), boot_id()};
  if (self.start_time == 0 || self.pid_namespace == 0 || self.boot == 0) {
    throw_system_error("/proc", "pinnedpg must be able to read /proc, by which ranks tell each other");
  }
  return self;
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
  return stat.life == Life::kAlive && stat.start_time != process.start_time ? Life::kGone : stat.life;
}

}  // namespace pinnedpg
