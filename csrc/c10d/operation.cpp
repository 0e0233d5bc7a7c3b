// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/operation.h"

#include <thread>
#include <utility>

#include "collective/collectives.h"

namespace pinnedpg {

/// The team of a queued operation is being connected by a thread of its own: that blocks until the first rank comes,
/// and the worker has other queues to drive.
struct Operation::Connecting {
  std::atomic<bool> done{false};
  std::exception_ptr error;
};

Operation::Operation(std::shared_ptr<Team> meeting, std::shared_ptr<Team> team, Tensors tensors, const Label& label,
                     std::chrono::milliseconds timeout, Plan plan, c10::intrusive_ptr<WorkPinned> work)
    : meeting_(std::move(meeting)),
      team_(std::move(team)),
      tensors_(std::move(tensors)),
      plan_(std::move(plan)),
      work_(std::move(work)) {
  call_.label = meeting_call_.label = label;
  call_.timeout = meeting_call_.timeout = timeout;
  if (meeting_) meeting_call_.legs = {collectives::barrier()};
}

void Operation::prepare() {
  Communicator& communicator = team_->communicator();
  for (int member = 0; member < communicator.local_count(); ++member) {
    call_.legs.push_back(plan_(communicator.staging().geometry(), member));
  }
}

void Operation::run() {
  if (meeting_) {
    meeting_->connect(call_.label.name(), call_.timeout);
    meeting_->advance(meeting_call_, HostStream::Mode::kBlock);
  }
  if (!team_->connected()) team_->connect(call_.label.name(), call_.timeout);
  prepare();
  team_->advance(call_, HostStream::Mode::kBlock);
  tensors_.write_back();
}

bool Operation::meet() {
  if (!meeting_) return true;
  if (!meeting_->connected() && !connect_aside(meeting_)) return false;
  if (!meeting_->advance(meeting_call_, HostStream::Mode::kPoll)) return false;
  meeting_ = nullptr;
  connecting_ = nullptr;  // another call may have connected the team first, and left ours unasked
  return true;
}

bool Operation::advance() {
  if (!meet()) return false;
  if (!team_->connected() && !connect_aside(team_)) return false;
  if (call_.legs.empty()) prepare();
  if (!team_->advance(call_, HostStream::Mode::kPoll)) return false;
  tensors_.write_back();
  return true;
}

void Operation::finish(std::exception_ptr error) {
  // Whoever waits may rely on nothing of the call being held any more, neither tensors nor the group.
  tensors_ = Tensors(tensors_.operation());
  plan_ = nullptr;
  call_ = {};
  team_ = nullptr;
  std::exchange(work_, nullptr)->complete(error);
}

bool Operation::connect_aside(const std::shared_ptr<Team>& team) {
  if (!connecting_) {
    connecting_ = std::make_shared<Connecting>();
    std::thread([connecting = connecting_, team, name = call_.label.name(), timeout = call_.timeout] {
      try {
        team->connect(name, timeout);
      } catch (...) {
        connecting->error = std::current_exception();
      }
      connecting->done.store(true);
    }).detach();
  }
  if (!connecting_->done.load()) return false;
  const std::exception_ptr error = std::exchange(connecting_, nullptr)->error;
  if (error) std::rethrow_exception(error);
  return true;
}

}  // namespace pinnedpg
