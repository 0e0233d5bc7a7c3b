// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/team.h"

#include <thread>

#include "base/interrupt.h"
#include "base/log.h"
#include "device/threads.h"

namespace pinnedpg {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

milliseconds since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

/// How long the Store has for an answer where the time is over.
constexpr milliseconds kLeast{100};

/// How long a rank that leaves tries to say so.
constexpr milliseconds kFarewell{2000};

}  // namespace

Rendezvous Rendezvous::join(c10::intrusive_ptr<c10d::Store> store, int rank, int world_size,
                            c10::intrusive_ptr<Options> options) {
  const milliseconds limit = options->timeout;
  const Board all(std::move(store), "pinnedpg/");
  // Ranks construct groups over one Store equally often, so each finds the others of its own incarnation.
  const int64_t incarnation = all.count(concat("incarnation/", rank), limit);
  Rendezvous rendezvous{all.under(concat(incarnation, "/")), rank, world_size, std::move(options)};
  rendezvous.board.publish(concat("process/", rank), ProcessId::self().to_string(), limit);
  return rendezvous;
}

void Rendezvous::leave(const std::string& why) const {
  try {
    board.publish(concat("left/", rank), why, kFarewell);
  } catch (const GroupError& error) {  // the Store went first: then so has whoever kept it
    PINNEDPG_LOG(kInfo, kInit, "rank ", rank, " could not say that it ", why, ": ", error.what());
  }
}

Watchdog::Absentee Rendezvous::find(int of_rank, milliseconds limit) const {
  const auto process = board.look_up(concat("process/", of_rank), limit);
  const auto left = board.look_up(concat("left/", of_rank), limit);
  return {process ? ProcessId::parse(*process) : ProcessId{}, left.value_or("")};
}

Watchdog::Absentee Absentees::find(int rank) {
  if (answer_.valid() && is_ready(answer_)) known_[asked_] = answer_.get();
  if (!answer_.valid()) {
    asked_ = rank;
    answer_ = aside([at = rendezvous_, rank] { return at.find(rank, at.options->timeout); });
  }
  return known_[rank];
}

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
  const Geometry geometry = rendezvous_.options->geometry(rendezvous_.world_size * tensors_, tensors_ == 1 ? 3 : 1);
  auto segment = Segment::create(Staging::bytes_needed(geometry));
  const Staging staging(segment->data(), geometry);
  segment->reserve(0, staging.control_bytes());
  staging.control().geometry = geometry;
  rendezvous_.board.publish(key(), segment->handle().to_string(), timeout);
  PINNEDPG_LOG(kInfo, kShm, "segment of ", segment->bytes(), " bytes for ", geometry.world_size,
               " ranks: ", geometry.depth, " slots of ", geometry.slot_bytes, " bytes each");
  return segment;
}

std::shared_ptr<Segment> Team::open(const char* operation, milliseconds timeout) const {
  const auto begin = steady_clock::now();
  for (milliseconds pause{1};; pause = std::min(2 * pause, milliseconds(20))) {
    if (const auto text = rendezvous_.board.look_up(key(), std::max(timeout - since(begin), kLeast))) {
      if (auto segment = Segment::open(Segment::Handle::parse(*text))) return segment;
    }
    check_waiting(operation, since(begin), timeout);
    std::this_thread::sleep_for(pause);
    check_interrupts();
  }
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
                          " s (its time-out) for rank 0, which has made no call yet",
                          first.process.pid == 0 ? "; it has not joined the group"
                                                 : concat("; its process ", first.process.pid, " is alive")));
}

void Team::seat(std::shared_ptr<Segment> segment) {
  const Geometry geometry = reinterpret_cast<const Control*>(segment->data())->geometry;
  const Staging staging(segment->data(), geometry);
  const int first = rendezvous_.rank * tensors_;
  segment->reserve(staging.slots_begin(first), staging.slots_bytes() * static_cast<size_t>(tensors_));
  segment_ = segment;
  owned_ = std::make_unique<Communicator>(segment, staging, first, tensors_,
                                          [at = std::make_shared<Absentees>(rendezvous_),
                                           tensors = tensors_](int member) { return at->find(member / tensors); });
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

bool Team::advance(Call& call, HostStream::Mode mode) {
  const bool first = communicator().call_count() <= 1;
  const bool done = communicator().advance(call, mode == HostStream::Mode::kBlock ? blocking_lanes_ : polling_lanes_);
  // All ranks have taken part in a call, so all have mapped the segment.
  if (done && first) segment_->seal();
  return done;
}

void Team::abort(const std::string& reason) {
  std::lock_guard lock(reason_mutex_);
  abort_reason_ = reason;
  if (connected()) communicator().abort(reason);
}

}  // namespace pinnedpg
