// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/operation.h"

#include <thread>

namespace pinnedpg {

/// The team of a queued operation is being connected by a thread of its own: that blocks until the first rank comes,
/// and the worker has other queues to drive.
struct Operation::Connecting {
  std::atomic<bool> done{false};
  std::exception_ptr error;
};

Operation::Operation(std::shared_ptr<Team> team, Tensors tensors, const Label& label, std::chrono::milliseconds timeout,
                     Plan plan, c10::intrusive_ptr<WorkPinned> work)
    : team_(std::move(team)), tensors_(std::move(tensors)), plan_(std::move(plan)), work_(std::move(work)) {
  call_.label = label;
  call_.timeout = timeout;
}

void Operation::prepare() {
  Communicator& communicator = team_->communicator();
  for (int member = 0; member < communicator.local_count(); ++member) {
    call_.legs.push_back(plan_(communicator.staging().geometry(), member));
  }
}

void Operation::run() {
  if (!team_->connected()) team_->connect(call_.label.name(), call_.timeout);
  prepare();
  team_->advance(call_, HostStream::Mode::kBlock);
  tensors_.write_back();
}

bool Operation::advance() {
  if (!team_->connected() && !connect_aside()) return false;
  if (call_.legs.empty()) prepare();
  if (!team_->advance(call_, HostStream::Mode::kPoll)) return false;
  tensors_.write_back();
  return true;
}

bool Operation::connect_aside() {
  if (!connecting_) {
    connecting_ = std::make_shared<Connecting>();
    std::thread([connecting = connecting_, team = team_, name = call_.label.name(), timeout = call_.timeout] {
      try {
        team->connect(name, timeout);
      } catch (...) {
        connecting->error = std::current_exception();
      }
      connecting->done.store(true);
    }).detach();
  }
  if (!connecting_->done.load()) return false;
  if (connecting_->error) std::rethrow_exception(connecting_->error);
  return true;
}

}  // namespace pinnedpg
