// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/threads.h"

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace pinnedpg {

namespace {

/// Threads that wait for something to run: as many as there ever were functions at one time.
class Spares {
 public:
  void run(std::function<void()> body) {
    std::lock_guard lock(mutex_);
    if (idle_ <= bodies_.size()) start();  // raises, with nothing queued, where no thread can be had
    bodies_.push_back(std::move(body));
    changed_.notify_all();
  }

  void retire(std::chrono::milliseconds grace) {
    std::unique_lock lock(mutex_);
    retired_ = true;
    changed_.wait_for(lock, grace, [this] { return busy_ == 0; });
  }

 private:
  void start() {
    std::thread thread([this] { serve(); });
    ::pthread_setname_np(thread.native_handle(), "pinnedpg-spare");
    thread.detach();
    ++idle_;
  }

  [[noreturn]] void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return !bodies_.empty() && !retired_; });
      std::function<void()> body = std::move(bodies_.front());
      bodies_.pop_front();
      --idle_;
      ++busy_;
      lock.unlock();
      body();
      body = nullptr;
      lock.lock();
      ++idle_;
      --busy_;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> bodies_;
  size_t idle_ = 0;
  size_t busy_ = 0;
  bool retired_ = false;
};

PerProcess<Spares> spares;

}  // namespace

void run_aside(std::function<void()> body) { spares.get().run(std::move(body)); }

void retire_spares(std::chrono::milliseconds grace) {
  if (Spares* existing = spares.existing()) existing->retire(grace);
}

}  // namespace pinnedpg
