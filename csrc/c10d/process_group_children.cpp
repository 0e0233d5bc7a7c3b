// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include <algorithm>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>

#include "c10d/errors.h"
#include "c10d/process_group.h"

namespace pinnedpg {

using BackendPtr = c10::intrusive_ptr<c10d::Backend>;

pinnedpg::Options ProcessGroupPinned::child_options(const c10::intrusive_ptr<c10d::Backend::Options>& given,
                                                    const std::vector<int>& ranks) const {
  const auto* ours = dynamic_cast<const pinnedpg::Options*>(given.get());
  pinnedpg::Options options = ours != nullptr ? *ours : *options_;
  if (ours == nullptr && given) {
    options.timeout = given->timeout;
    options.group_name = given->group_name;
  }
  // torch hands on those of this group; it says nothing of them in the default group, where they are the ranks.
  const auto& own = options_->global_ranks_in_group;
  options.global_ranks_in_group.clear();
  for (const int rank : ranks) {
    const auto i = static_cast<size_t>(rank);
    options.global_ranks_in_group.push_back(own.empty() ? i : own[i]);
  }
  return options;
}

BackendPtr ProcessGroupPinned::split(const c10::intrusive_ptr<c10d::Store>& /*store*/, const std::vector<int>& ranks,
                                     const c10::intrusive_ptr<c10d::Backend::Options>& opts) {
  return with_torch_errors([&]() -> BackendPtr {
    std::string members;
    for (const int rank : ranks) {
      PINNEDPG_CHECK(rank >= 0 && rank < getSize(), "split: the ranks must be of the group, 0 to ", getSize() - 1,
                     "; got ", rank);
      members += concat(rank, ",");
    }
    const auto own = std::find(ranks.begin(), ranks.end(), getRank());
    if (own == ranks.end()) return nullptr;
    const pinnedpg::Options options = child_options(opts, ranks);
    // torch asks once for each type of device, with one store and name: one child serves all. Once that is destroyed,
    // torch may give its name to another.
    std::lock_guard lock(mutex_);
    c10::weak_intrusive_ptr<ProcessGroupPinned>& known =
        children_.try_emplace(members + options.group_name, c10::intrusive_ptr<ProcessGroupPinned>()).first->second;
    if (auto child = known.lock(); child && child->is_open()) return child;
    // Neither torch's store for the child nor its name, from which that comes: torch (2.13) makes the name from the
    // number of groups that the rank is in, so the members of one child may have different ones.
    auto store = c10::make_intrusive<c10d::PrefixStore>(concat("split/", members, "/", ++splits_[members]), store_);
    auto child = c10::make_intrusive<ProcessGroupPinned>(store, static_cast<int>(own - ranks.begin()),
                                                         static_cast<int>(ranks.size()), options);
    known = child;
    return child;
  });
}

bool ProcessGroupPinned::is_open() {
  std::lock_guard lock(mutex_);
  return closed_.empty();
}

BackendPtr ProcessGroupPinned::merge(const c10::intrusive_ptr<c10d::Store>& store,
                                     const c10::intrusive_ptr<c10d::Backend::Options>& opts, const int& rank,
                                     const int& size) {
  return c10::make_intrusive<ProcessGroupPinned>(store, rank, size, child_options(opts, {}));
}

BackendPtr ProcessGroupPinned::shrink(const std::vector<int64_t>& ranks_to_exclude, int shrink_flags,
                                      const c10::intrusive_ptr<c10d::Backend::Options>& opts_override) {
  return with_torch_errors([&] {
    std::vector<int> ranks;
    for (int rank = 0; rank < getSize(); ++rank) {
      if (std::find(ranks_to_exclude.begin(), ranks_to_exclude.end(), rank) == ranks_to_exclude.end())
        ranks.push_back(rank);
    }
    for (const int64_t rank : ranks_to_exclude) {
      PINNEDPG_CHECK(rank >= 0 && rank < getSize(), "shrink: the ranks to exclude must be of the group, 0 to ",
                     getSize() - 1, "; got ", rank);
    }
    const auto own = std::find(ranks.begin(), ranks.end(), getRank());
    PINNEDPG_CHECK(own != ranks.end(), "shrink: it must be called on the ranks that stay; rank ", getRank(),
                   " is to be excluded");
    if (shrink_flags != 0) abort();
    // The ranks that stay shrink their group equally often.
    auto store = c10::make_intrusive<c10d::PrefixStore>(concat("shrink/", ++shrunk_), store_);
    return BackendPtr(c10::make_intrusive<ProcessGroupPinned>(store, static_cast<int>(own - ranks.begin()),
                                                              static_cast<int>(ranks.size()),
                                                              child_options(opts_override, ranks)));
  });
}

void ProcessGroupPinned::monitoredBarrier(const c10d::BarrierOptions& opts, bool wait_all_ranks) {
  with_torch_errors([&] {
    const auto timeout = opts.timeout.count() > 0 ? opts.timeout : options_->timeout;
    rendezvous_.monitor(concat("monitored/", ++monitored_), timeout, wait_all_ranks);
  });
}

std::optional<std::string> ProcessGroupPinned::failure() const {
  const auto on_gpus = [](const std::shared_ptr<CudaTeam>& team) { return team ? &team->team() : nullptr; };
  for (const Team* team : {first_.get(), lists_.get(), on_gpus(cuda_first_), on_gpus(cuda_lists_)}) {
    if (team == nullptr) continue;
    if (auto reason = team->failure()) return reason;
  }
  return std::nullopt;
}

c10d::ErrorType ProcessGroupPinned::getError() {
  std::lock_guard lock(mutex_);
  return failed_ || failure() ? c10d::ErrorType::COMM_ERROR : c10d::ErrorType::SUCCESS;
}

}  // namespace pinnedpg
