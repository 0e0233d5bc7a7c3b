// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/operation.h"

#include <utility>

#include "collective/collectives.h"

namespace pinnedpg {

Operation::Operation(std::shared_ptr<Team> meeting, std::shared_ptr<Team> team, const Tensors& tensors,
                     const Label& label, std::chrono::milliseconds timeout, Plan plan, Next next,
                     c10::intrusive_ptr<WorkPinned> work)
    : meeting_(std::move(meeting)),
      team_(std::move(team)),
      tensors_(tensors),
      plan_(std::move(plan)),
      work_(std::move(work)) {
  call_.label = meeting_call_.label = label;
  call_.timeout = meeting_call_.timeout = timeout;
  call_.next = std::move(next);
  if (meeting_) meeting_call_.legs = {collectives::barrier({})};
}

void Operation::prepare() {
  tensors_.read();
  Communicator& communicator = team_->communicator();
  for (int member = 0; member < communicator.local_count(); ++member) {
    call_.legs.push_back(plan_(communicator.staging().geometry(), member, std::pmr::get_default_resource()));
  }
}

bool Operation::meet() {
  if (!meeting_) return true;
  if (!connect_aside(meeting_)) return false;
  if (!meeting_->advance(meeting_call_, HostStream::Mode::kPoll)) return false;
  meeting_ = nullptr;
  return true;
}

bool Operation::advance() {
  if (!meet()) return false;
  if (!connect_aside(team_)) return false;
  try {
    if (call_.legs.empty()) prepare();
    if (!team_->advance(call_, HostStream::Mode::kPoll)) return false;
    tensors_.write_back();
  } catch (...) {
    team_->fail(call_.label.name(), std::current_exception());
  }
  return true;
}

bool Operation::doze() {
  if (!current()->connected()) return false;
  current()->polling().doze();
  return true;
}

void Operation::rouse() {
  if (current()->connected()) current()->polling().rouse();
}

void Operation::finish(std::exception_ptr error) {
  // Whoever waits may rely on nothing of the call being held any more, neither tensors nor the group.
  tensors_ = Tensors(tensors_.operation());
  plan_ = nullptr;
  call_ = Call();
  team_ = nullptr;
  std::exchange(work_, nullptr)->complete(error);
}

bool Operation::connect_aside(const std::shared_ptr<Team>& team) {
  if (team->connected()) return true;
  if (!connecting_.valid()) {
    connecting_ = aside([team, name = call_.label.name(), timeout = call_.timeout] { team->connect(name, timeout); });
  }
  if (!is_ready(connecting_)) return false;
  connecting_.get();
  return team->connected();  // else that was for the meeting, which another call had connected before
}

}  // namespace pinnedpg
