// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// The calls of ProcessGroupPinned that their caller does itself: nothing here allocates, in a call of one tensor.
#include <c10/util/ScopeExit.h>

#include "c10d/process_group.h"
#include "collective/collectives.h"

namespace pinnedpg {

ProcessGroupPinned::WorkPtr ProcessGroupPinned::run_here(Request& request, PlanRef plan, const Operation::Next& next) {
  const auto done = c10::make_scope_exit([this] { queue_->end(); });
  carry_out(request, plan, next);
  return nullptr;
}

void ProcessGroupPinned::carry_out(Request& request, PlanRef plan, const Operation::Next& next) {
  if (request.label.tensors != 1) {  // all ranks compare the call before those of its own team exist
    Call meeting(request.memory);
    meeting.label = request.label;
    meeting.timeout = request.timeout;
    meeting.legs.push_back(collectives::barrier({0, 1, request.memory}));
    const auto everyone = team(1);
    everyone->connect(request.label.name(), request.timeout);
    everyone->advance(meeting, HostStream::Mode::kBlock);
  }
  const auto team = this->team(request.label.tensors);
  if (!team->connected()) team->connect(request.label.name(), request.timeout);
  Call call(request.memory);
  call.label = request.label;
  call.timeout = request.timeout;
  call.next = next;
  try {
    request.tensors.read();
    for (int member = 0; member < team->tensors(); ++member) {
      call.legs.push_back(plan(team->communicator().staging().geometry(), member, request.memory));
    }
    team->advance(call, HostStream::Mode::kBlock);
    request.tensors.write_back();
  } catch (...) {
    team->fail(request.label.name(), std::current_exception());
  }
}

}  // namespace pinnedpg
