// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/team.h"

#include <thread>

#include "base/interrupt.h"
#include "base/log.h"

namespace pinnedpg {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

milliseconds since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

/// How long the Store has for an answer where the time is over.
constexpr milliseconds kLeast{100};

}  // namespace

void Team::connect(const char* operation, milliseconds timeout) {
  std::lock_guard lock(connecting_);
  if (connected()) return;
  check_abort(operation);
  try {
    seat(rendezvous_.rank == 0 ? create(timeout) : open(operation, timeout));
  } catch (const std::exception& error) {
    // The others count this call, and this rank has not made it: no later one could fit theirs.
    rendezvous_.leave(concat("could not join: ", error.what()));
    std::lock_guard reason_lock(reason_mutex_);
    abort_reason_ = error.what();
    throw;
  }
}

std::shared_ptr<Segment> Team::create(milliseconds timeout) const {
  const int members = rendezvous_.world_size * tensors_;
  const int quarters = tensors_ > 1 ? 1 : on_gpus_ ? 5 : 2;
  const Geometry geometry = rendezvous_.options->geometry(members, quarters, on_gpus_);
  return rendezvous_.create(key(), geometry, timeout);
}

std::shared_ptr<Segment> Team::open(const char* operation, milliseconds timeout) const {
  const auto begin = steady_clock::now();
  for (milliseconds pause{1};; pause = std::min(2 * pause, milliseconds(20))) {
    const auto opened = rendezvous_.open(key(), std::max(timeout - since(begin), kLeast));
    if (opened.members > 0) check_world(operation, opened.members / tensors_);
    if (opened.segment) return opened.segment;
    check_waiting(operation, since(begin), timeout);
    std::this_thread::sleep_for(pause);
    check_interrupts();
  }
}

void Team::check_world(const char* operation, int theirs) const {
  if (theirs == rendezvous_.world_size) return;
  throw GroupError(concat(operation, ": rank ", rendezvous_.rank, " takes its group to have ", rendezvous_.world_size,
                          " ranks, rank 0 takes it to have ", theirs,
                          ". All ranks must make the same groups, in the same order"));
}

void Team::check_abort(const char* operation) const {
  std::lock_guard lock(reason_mutex_);
  if (!abort_reason_.empty()) throw GroupError(concat(operation, ": ", abort_reason_));
}

void Team::check_waiting(const char* operation, milliseconds waited, milliseconds timeout) const {
  check_abort(operation);
  const Watchdog::Absentee first = rendezvous_.find(0, std::max(timeout - waited, kLeast));
  const std::string rank = concat(operation, ": rank ", rendezvous_.rank);
  if (!first.left.empty()) throw GroupError(concat(rank, " waits for rank 0, which ", first.left));
  if (life_of(first.process) == Life::kGone) {
    throw GroupError(
        concat(rank, " waits for rank 0, whose process ", first.process.pid, " is gone; it had made no call"));
  }
  if (waited < timeout) return;
  throw GroupError(concat(rank, " waited ", waited.count() / 1000.0,
                          " s (the timeout of the call) for rank 0, which has made no call yet",
                          first.process.pid == 0 ? "; it has not joined the group"
                                                 : concat("; its process ", first.process.pid, " is alive")));
}

void Team::seat(std::shared_ptr<Segment> segment) {
  const Geometry geometry = reinterpret_cast<const Control*>(segment->data())->geometry;
  const Staging staging(segment->data(), geometry);
  const int first = rendezvous_.rank * tensors_;
  segment->reserve(staging.slots_begin(first), staging.slots_bytes() * static_cast<size_t>(tensors_));
  segment_ = segment;
  owned_ = std::make_unique<Communicator>(segment, staging, first, tensors_, lookup());
  const WaitPolicy policy = WaitPolicy::for_ranks(rendezvous_.world_size);
  Bell& bell = staging.control().bell;
  blocking_ = std::make_unique<HostStream>(HostStream::Mode::kBlock, bell, owned_->watchdog(), policy);
  polling_ = std::make_unique<HostStream>(HostStream::Mode::kPoll, bell, owned_->watchdog(), policy);
  blocking_lanes_.assign(static_cast<size_t>(tensors_), {blocking_.get(), blocking_.get()});
  polling_lanes_.assign(static_cast<size_t>(tensors_), {polling_.get(), polling_.get()});
  std::lock_guard lock(reason_mutex_);
  communicator_.store(owned_.get(), std::memory_order_release);
  if (!abort_reason_.empty()) owned_->abort(abort_reason_);
}

Watchdog::Lookup Team::lookup() const {
  return [at = std::make_shared<Absentees>(rendezvous_), tensors = tensors_](int member) {
    return at->find(member / tensors);
  };
}

Watchdog Team::watchdog() const {
  const Communicator& communicator = *communicator_.load(std::memory_order_acquire);
  return {communicator.staging(), communicator.first_rank(), lookup()};
}

bool Team::advance(Call& call, HostStream::Mode mode) {
  const bool first = communicator().call_count() <= 1;
  const bool done = communicator().advance(call, mode == HostStream::Mode::kBlock ? blocking_lanes_ : polling_lanes_);
  // All ranks have taken part in a call, so all have mapped the segment.
  if (done && first) segment_->seal();
  return done;
}

void Team::fail(const char* operation, std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const GroupError&) {
    throw;
  } catch (const ValueError&) {
    throw;
  } catch (const Interrupted&) {
    throw;  // the communicator has told the others
  } catch (const std::exception& fault) {
    // A copy that could not be made or written back: the others count this call, and no later one could fit theirs.
    communicator().abort(concat(operation, ": ", communicator().watchdog().name_of(communicator().first_rank()),
                                " failed: ", fault.what()));
    throw;
  }
}

std::optional<std::string> Team::failure() const {
  const Communicator* communicator = communicator_.load(std::memory_order_acquire);
  if (communicator == nullptr || !communicator->staging().control().aborted()) return std::nullopt;
  return communicator->staging().control().reason;
}

void Team::check() const {
  if (const auto reason = failure()) throw GroupError(*reason);
}

bool Team::has_left(int rank) const {
  const Communicator* communicator = communicator_.load(std::memory_order_acquire);
  return communicator != nullptr && communicator->staging().member(rank * tensors_).presence.load() == Presence::kLeft;
}

void Team::abort(const std::string& reason) {
  std::lock_guard lock(reason_mutex_);
  abort_reason_ = reason;
  if (connected()) communicator().abort(reason);
}

}  // namespace pinnedpg
