// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/cuda_call.h"

#include "device/releaser.h"
#include "device/threads.h"

namespace pinnedpg {

CudaCall::CudaCall(std::shared_ptr<CudaTeam> team, const Label& label, std::chrono::milliseconds timeout,
                   CudaTeam::Queued queued, const Tensors& tensors, c10::intrusive_ptr<WorkPinned> work)
    : team_(std::move(team)),
      name_(label.name()),
      timeout_(timeout),
      queued_(std::move(queued)),
      tensors_(tensors),
      work_(std::move(work)),
      urgent_(work_ != nullptr || label.has_factor()) {}

bool CudaCall::advance() {
  if (!error_) watch();
  if (error_) team_->team().communicator().release_queued(queued_.step);
  if (!is_over()) return false;
  if (error_) std::rethrow_exception(error_);
  if (!compared_) return false;  // at the next look: all ranks have made the call
  team_->team().communicator().end_queued(queued_.number);
  return true;
}

void CudaCall::watch() {
  try {
    if (!std::exchange(begun_, true)) team_->watchdog().begin(name_, timeout_);
    if (!compared_) compared_ = team_->team().communicator().compare_queued(queued_.number);
    team_->patrol(queued_);
  } catch (...) {
    error_ = std::current_exception();
  }
}

bool CudaCall::is_over() {
  try {
    if (error_) return is_idle();
    for (const auto& [gpu, done] : queued_.done) {
      if (done->is_over()) continue;
      team_->check_gpu(gpu);
      return false;
    }
    team_->watchdog().check_abort();  // or else it may have been let go after the last look
  } catch (const GroupError&) {
    error_ = std::current_exception();
    return false;
  } catch (const SystemError& error) {  // the GPU does nothing any more
    if (error_) return true;
    error_ = std::current_exception();
    team_->team().communicator().abort(concat(name_, ": ", error.what()));
  }
  return true;
}

bool CudaCall::is_idle() {
  if (!idle_.valid()) {
    try {
      idle_ = aside([team = team_] { return team->is_idle(); });
    } catch (const SystemError&) {  // no thread can be had
      return team_->is_idle();
    }
  }
  return is_ready(idle_) && idle_.get();
}

void CudaCall::finish(std::exception_ptr error) {
  tensors_.let_go();
  team_ = nullptr;
  if (!work_) return;
  work_->complete(error);
  let_go_aside(std::exchange(work_, nullptr));  // this may be its last holder, and its tensors'
}

}  // namespace pinnedpg
