// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/rendezvous.h"

#include <thread>

#include "base/interrupt.h"
#include "base/log.h"
#include "device/threads.h"

namespace pinnedpg {

namespace {

using std::chrono::milliseconds;

/// How long a rank that leaves tries to say so.
constexpr milliseconds kFarewell{2000};

/// How much longer the others wait for rank 0's verdict than rank 0 for them.
constexpr milliseconds kVerdict{5000};

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

void Rendezvous::leave(const std::string& why) const { tell(concat("left/", rank), why); }

void Rendezvous::announce_abort(const std::string& reason) const { tell("aborted", reason); }

void Rendezvous::tell(const std::string& key, const std::string& value) const {
  try {
    run_aside([at = *this, key, value] {
      try {
        at.board.publish(key, value, kFarewell);
      } catch (const std::exception& error) {  // the Store went first, or no thread can be had for its call
        PINNEDPG_LOG(kInfo, kInit, "rank ", at.rank, " could not tell the others: ", value, ": ", error.what());
      }
    });
  } catch (const SystemError&) {  // no thread can be had: the others wait for their time-out
  }
}

Watchdog::Absentee Rendezvous::find(int of_rank, milliseconds limit) const {
  const auto process = board.look_up(concat("process/", of_rank), limit);
  const auto left = board.look_up(concat("left/", of_rank), limit);
  return {process ? ProcessId::parse(*process) : ProcessId{}, left.value_or("")};
}

std::optional<std::string> Rendezvous::find_abort() const {
  try {
    return board.look_up("aborted", options->timeout);
  } catch (const GroupError&) {  // who keeps the Store may go before the others are done with each other
    return std::nullopt;
  }
}

Watchdog::Absentee Absentees::find(int rank) {
  if (answer_.valid() && is_ready(answer_)) {
    try {
      known_[asked_] = answer_.get();
    } catch (const GroupError&) {  // the Store is gone: what was known of the rank stays
    }
  }
  if (!answer_.valid()) {
    asked_ = rank;
    answer_ = aside([at = rendezvous_, rank] { return at.find(rank, at.options->timeout); });
  }
  return known_[rank];
}

std::shared_ptr<Segment> Rendezvous::create(const std::string& key, const Geometry& geometry,
                                            milliseconds limit) const {
  auto segment = Segment::create(Staging::bytes_needed(geometry));
  const Staging staging(segment->data(), geometry);
  segment->reserve(0, staging.control_bytes());
  staging.control().geometry = geometry;
  board.publish(key, concat(geometry.world_size, ' ', segment->handle().to_string()), limit);
  PINNEDPG_LOG(kInfo, kShm, "segment of ", segment->bytes(), " bytes for ", geometry.world_size,
               " ranks: ", geometry.depth, " slots of ", geometry.slot_bytes, " bytes each");
  return segment;
}

Rendezvous::Opened Rendezvous::open(const std::string& key, milliseconds limit) const {
  const auto text = board.look_up(key, limit);
  if (!text) return {};
  size_t end = 0;
  const int members = std::stoi(*text, &end);
  return {members, Segment::open(Segment::Handle::parse(text->substr(end)))};
}

void Rendezvous::monitor(const std::string& key, milliseconds limit, bool all) const {
  const auto end = std::chrono::steady_clock::now() + limit;
  const auto waits = [&](const std::string& name, milliseconds more) -> std::optional<std::string> {
    for (;;) {
      if (auto value = board.look_up(key + name, limit + more)) return value;
      if (std::chrono::steady_clock::now() >= end + more) return std::nullopt;
      std::this_thread::sleep_for(milliseconds(1));
      check_interrupts();
    }
  };
  const std::string text = concat("monitored_barrier: rank ", rank, " waited ", limit.count() / 1000.0, " s for ");
  if (rank != 0) {
    board.publish(concat(key, '/', rank), "here", limit);
    const auto verdict = waits("/verdict", kVerdict);
    if (!verdict) throw GroupError(text + "rank 0, which watches it");
    if (!verdict->empty()) throw GroupError(*verdict);
    return;
  }
  std::string missing;
  for (int other = 1; other < world_size && (all || missing.empty()); ++other) {
    if (!waits(concat('/', other), milliseconds(0))) missing += concat(missing.empty() ? "rank " : ", rank ", other);
  }
  const std::string verdict = missing.empty() ? "" : concat(text, missing, ", which did not come");
  board.publish(key + "/verdict", verdict, limit);
  if (!verdict.empty()) throw GroupError(verdict);
}

}  // namespace pinnedpg
