// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <cerrno>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <string>

namespace pinnedpg {

/// The caller's fault, found before anything was queued: the group and its steps are as before. A `ValueError` in
/// Python.
struct ValueError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// The group's fault (time-out, dead peer, mismatched calls, abort): no call of the group can succeed any more.
struct GroupError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The system's fault: a system call failed. The text keeps the call, the errno's message and what it was for.
struct SystemError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename... Args>
std::string concat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

[[noreturn]] inline void throw_system_error(const char* call, const std::string& what) {
  const int code = errno;
  throw SystemError(concat(what, " (", call, ": ", std::strerror(code), ")"));
}

}  // namespace pinnedpg

/// Raises ValueError with the remaining arguments concatenated: "<operation>: <what must hold>; got <what was>".
#define PINNEDPG_CHECK(condition, ...)                               \
  do {                                                               \
    if (!(condition)) [[unlikely]]                                   \
      throw ::pinnedpg::ValueError(::pinnedpg::concat(__VA_ARGS__)); \
  } while (false)

/// Evaluates the system call of that name, which returns a negative number on failure, and yields its result.
#define SYS_CHECK(name, call, what)                \
  ([&] {                                           \
    const auto result = (call);                    \
    if (result < 0) [[unlikely]]                   \
      ::pinnedpg::throw_system_error(#name, what); \
    return result;                                 \
  }())
