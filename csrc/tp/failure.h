// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "base/check.h"

namespace pinnedpg::tp {

/// Whether a context can still do anything, and if not, why: the first reason stays. Everything of the context looks
/// here.
class Failure {
 public:
  void fail(const std::string& reason) {
    std::lock_guard lock(mutex_);
    if (failed_.load()) return;
    reason_ = reason;
    failed_.store(true);
  }

  /// Raises GroupError for an operation of that name if the context has failed.
  void check(const char* operation) const {
    if (!failed_.load()) return;
    std::lock_guard lock(mutex_);
    throw GroupError(concat(operation, ": the context has failed: ", reason_));
  }

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> failed_{false};
  std::string reason_;
};

}  // namespace pinnedpg::tp
