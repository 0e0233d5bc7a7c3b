// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What torch offers to have in a backend, from release 2.14 or 2.15 on, and this one has not.
#include <c10/util/Exception.h>

#include "c10d/process_group.h"

namespace pinnedpg {

namespace {

[[maybe_unused]] constexpr const char* kNewGroup = "Destroy the group and make a new one, or shrink it";

[[noreturn, maybe_unused]] void refuse(const char* name, const char* what_to_do) {
  throw c10::NotImplementedError({__func__, __FILE__, __LINE__},
                                 concat(name, ": the backend pinned does not have it. ", what_to_do));
}

}  // namespace

#ifdef C10D_BACKEND_HAS_RECONFIGURE
c10d::ReconfigureHandle ProcessGroupPinned::get_reconfigure_handle() const {
  refuse("get_reconfigure_handle", kNewGroup);
}

ProcessGroupPinned::WorkPtr ProcessGroupPinned::reconfigure(const c10d::ReconfigureOptions&) {
  refuse("reconfigure", kNewGroup);
}
#endif

#ifdef C10D_BACKEND_HAS_WINDOW
c10::intrusive_ptr<c10d::Window> ProcessGroupPinned::new_window(const std::optional<at::Tensor>&) {
  refuse("new_window", "Use send and recv");
}
#endif

#ifdef C10D_BACKEND_HAS_HOOKS
void ProcessGroupPinned::registerAbortHook(int64_t, c10d::AbortHook) {
  refuse("registerAbortHook", "Catch DistBackendError, or look at getError()");
}
#endif

#ifdef PINNEDPG_TORCH_HAS_COMPLETION_HOOKS
void ProcessGroupPinned::registerCompletionHook(int64_t, c10d::CompletionHook) {
  refuse("registerCompletionHook", "Use work.get_future().then(...)");
}
#endif

#ifdef PINNEDPG_TORCH_HAS_TIME_ESTIMATE
void ProcessGroupPinned::startTimeEstimate() { refuse("startTimeEstimate", "Time the calls themselves"); }
#endif

}  // namespace pinnedpg
