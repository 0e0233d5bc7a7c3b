// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace pinnedpg {

/// Where the processes of a group pin up what the others must know: keys of the group's Store under a prefix. Its calls
/// end: the process that serves the Store may be stopped, which torch's clients wait out for ever.
class Board {
 public:
  using Milliseconds = std::chrono::milliseconds;

  Board(c10::intrusive_ptr<c10d::Store> store, std::string prefix)
      : store_(std::move(store)), prefix_(std::move(prefix)) {}

  /// The board of the keys under a further prefix.
  Board under(const std::string& prefix) const { return {store_, prefix_ + prefix}; }

  /// Each raises GroupError where the Store fails, or has not answered within the limit.
  std::optional<std::string> look_up(const std::string& key, Milliseconds limit) const;
  void publish(const std::string& key, const std::string& value, Milliseconds limit) const;
  /// Adds one to a counter, and returns what it is now.
  int64_t count(const std::string& key, Milliseconds limit) const;

 private:
  c10::intrusive_ptr<c10d::Store> store_;
  std::string prefix_;
};

}  // namespace pinnedpg
