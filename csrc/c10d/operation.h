// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <functional>
#include <future>
#include <memory>

#include "c10d/team.h"
#include "c10d/tensors.h"
#include "c10d/work.h"
#include "device/queue.h"
#include "device/threads.h"

namespace pinnedpg {

/// One call of a process group that is queued, from its tensors to its work.
class Operation final : public Task {
 public:
  /// The exchanges of local member `member`, for a geometry that is known only once the team is connected; they are to
  /// lie in `memory`.
  using Plan = std::function<Call::Leg(const Geometry& geometry, int member, Memory* memory)>;
  /// What follows once all exchanges are done (see Call::next).
  using Next = std::function<bool(Call::Legs&)>;

  /// `meeting` is where all ranks compare the call before those of `team` (of as many tensors) exist; null when that is
  /// the same team.
  Operation(std::shared_ptr<Team> meeting, std::shared_ptr<Team> team, const Tensors& tensors, const Label& label,
            std::chrono::milliseconds timeout, Plan plan, Next next, c10::intrusive_ptr<WorkPinned> work);

  bool advance() override;
  bool doze() override;
  void rouse() override;
  void finish(std::exception_ptr error) override;

 private:
  void prepare();
  /// The team that the call is with now.
  const std::shared_ptr<Team>& current() const { return meeting_ ? meeting_ : team_; }
  bool meet();
  bool connect_aside(const std::shared_ptr<Team>& team);

  std::shared_ptr<Team> meeting_;  ///< null once met
  std::shared_ptr<Team> team_;
  Tensors tensors_;
  Call meeting_call_;
  Call call_;
  Plan plan_;
  c10::intrusive_ptr<WorkPinned> work_;
  std::future<void> connecting_;  ///< blocks until the first rank comes
};

}  // namespace pinnedpg
