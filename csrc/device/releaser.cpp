// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/releaser.h"

#include <condition_variable>
#include <deque>
#include <mutex>

#include "base/check.h"
#include "device/threads.h"

namespace pinnedpg {

namespace {

class Releaser {
 public:
  /// Raises SystemError where no thread can be had.
  void take(std::shared_ptr<void> kept) {
    std::lock_guard lock(mutex_);
    if (!started_) start_lasting_thread("pinnedpg-free", [this] { run(); });
    started_ = true;
    kept_.push_back(std::move(kept));
    if (kept_.size() == 1) changed_.notify_all();
  }

  void retire(std::chrono::milliseconds grace) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, grace, [this] { return kept_.empty() && !releases_; });
    retired_ = true;
    changed_.wait_for(lock, grace, [this] { return !releases_; });  // the one in hand
  }

 private:
  [[noreturn]] void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return !kept_.empty() && !retired_; });
      std::shared_ptr<void> one = std::move(kept_.front());
      kept_.pop_front();
      releases_ = true;
      lock.unlock();
      one.reset();
      lock.lock();
      releases_ = false;
      if (kept_.empty() || retired_) changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<void>> kept_;
  bool started_ = false;
  bool releases_ = false;
  bool retired_ = false;
};

PerProcess<Releaser> releasers;

}  // namespace

void release(std::shared_ptr<void> kept) {
  try {
    releasers.get().take(std::move(kept));
  } catch (const SystemError&) {
    // It has been let go of.
  }
}

void retire_releaser(std::chrono::milliseconds grace) {
  if (Releaser* existing = releasers.existing()) existing->retire(grace);
}

}  // namespace pinnedpg
