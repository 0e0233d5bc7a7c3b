// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "collective/communicator.h"

#include <algorithm>

#include "base/interrupt.h"
#include "base/log.h"

namespace pinnedpg {

Communicator::Communicator(std::shared_ptr<void> memory, Staging staging, int first_rank, int local_count,
                           Watchdog::Lookup lookup, Watchdog::Names names)
    : memory_(std::move(memory)),
      staging_(staging),
      membership_(staging, first_rank, local_count),
      first_rank_(first_rank),
      local_count_(local_count),
      watchdog_(staging, first_rank, std::move(lookup), std::move(names)) {
  for (int rank = 0; rank < staging_.geometry().world_size; ++rank) {
    puts_.push_back(&staging_.put(rank));
    gots_.push_back(&staging_.got(rank));
  }
  sources_.reserve(puts_.size());
  put_step_ = got_step_ = staging_.put(first_rank).step.load();  // 0 in a new segment; the flags of one are all alike
}

bool Communicator::advance(Call& call, std::span<const Lanes> lanes) {
  try {
    if (!call.at.begun) begin(call);
    for (;;) {
      if (!move(call, lanes)) return false;
      if (!call.next || !call.next(call.legs)) return true;
      call.at = {.compared = true, .begun = true};
    }
  } catch (const GroupError&) {
    throw;
  } catch (const ValueError&) {
    throw;  // what all ranks find alike at the same step: none goes on, and the group is as before
  } catch (const Interrupted&) {
    abort(concat(call.label.name(), ": ", watchdog_.name_of(first_rank_), " was interrupted"));
    throw;
  } catch (const std::exception& error) {
    abort(concat(call.label.name(), ": ", watchdog_.name_of(first_rank_), " failed: ", error.what()));
    throw GroupError(staging_.control().reason);
  }
}

void Communicator::begin(Call& call) {
  watchdog_.begin(call.label.name(), call.timeout);
  call.at.begun = true;
  call.label.number = ++calls_;
  PINNEDPG_LOG(kTrace, kColl, watchdog_.name_of(first_rank_), ": call ", call.label.number, ", ",
               call.label.to_string());
  const uint64_t fingerprint = call.label.fingerprint();
  for (int rank = first_rank_; rank < first_rank_ + local_count_; ++rank) {
    // Published by the first arrive. The place was last used four calls ago, and a peer that has not compared that
    // call yet has not entered the one after it, so this rank could not have left that one.
    staging_.member(rank).labels[call.label.number % 4] = call.label;
    staging_.put(rank).fingerprint[call.label.number % 4].store(fingerprint, std::memory_order_relaxed);
  }
}

bool Communicator::move(Call& call, std::span<const Lanes> lanes) {
  const size_t exchanges = call.legs[0].size();
  size_t chunks = 1;
  for (const Exchange& exchange : call.legs[0]) chunks = std::max(chunks, exchange.rounds(staging_.geometry()));
  auto& at = call.at;
  for (; at.turn < chunks + exchanges; ++at.turn, at.exchange = 0) {
    for (; at.exchange < exchanges; ++at.exchange, at.gets = false) {
      for (;; at.gets = true) {
        const size_t ahead = at.exchange + (at.gets ? 1 : 0);
        if (at.turn >= ahead && at.turn - ahead < chunks) {
          for (; at.member < call.legs.size(); ++at.member) {
            const Exchange& exchange = call.legs[at.member][at.exchange];
            const size_t chunk = at.turn - ahead;
            const bool done = at.gets ? queue_gets(call, exchange, chunk, *lanes[at.member].get)
                                      : queue_puts(call, exchange, chunk, *lanes[at.member].put);
            if (!done) return false;
          }
          at.member = 0;
          ++(at.gets ? got_step_ : put_step_);
        }
        if (at.gets) break;
      }
    }
  }
  const bool closes = call.legs[0].back().closes;
  return !closes || lanes[0].get->wait(gots_, got_step_);
}

bool Communicator::queue_puts(const Call& call, const Exchange& exchange, size_t chunk, Stream& stream) {
  const uint32_t step = put_step_ + 1;
  const int rank = first_rank_ + static_cast<int>(call.at.member);
  // What is put now may be what the own gets before it have written.
  if (call.at.exchange > 0 || chunk == 0) {
    if (!stream.wait({&gots_[static_cast<size_t>(rank)], 1}, got_step_)) return false;
  }
  for (const auto& [flags, target] : exchange.after) {
    if (!stream.wait(flags, target)) return false;
  }
  // All have read what the slot (or the image) held before.
  const uint32_t last_use = exchange.image.empty() ? step - staging_.geometry().depth : step - 1;
  if (!siblings_.empty()) await_issued(gots_, last_use);
  if (!stream.wait(gots_, last_use)) return false;
  const Round round(exchange, staging_, chunk);
  for (const auto& [shard, from] : exchange.puts) {
    const Region part = round.part(from);
    if (part.bytes() > 0) stream.copy(round.staged(rank, shard, step, part.bytes()), part, Toward::kStage);
  }
  stream.arrive(*puts_[static_cast<size_t>(rank)], step);
  return true;
}

bool Communicator::queue_gets(Call& call, const Exchange& exchange, size_t chunk, Stream& stream) {
  const uint32_t step = got_step_ + 1;
  const auto rank = static_cast<size_t>(first_rank_) + call.at.member;
  // Own puts too: a get may overwrite in place what is still being put.
  const std::span<Flag* const> awaited = exchange.meets ? std::span<Flag* const>(puts_) : std::span(&puts_[rank], 1);
  if (!siblings_.empty()) await_issued(puts_, step);
  if (!stream.wait(awaited, step)) return false;
  if (!call.at.compared && exchange.meets) compare_labels(call);
  const Round round(exchange, staging_, chunk);
  if (exchange.reduction) {
    queue_reduction(exchange, round, stream);
  } else {
    const Toward direction = exchange.result_direction();
    for (const auto& [peer, shard, to, own] : exchange.gets) {
      const Region part = round.part(to);
      const Region from = own.data != nullptr ? round.part(own) : round.staged(peer, shard, step, part.bytes());
      if (part.bytes() > 0 && from.data != part.data) stream.copy(part, from, direction);
    }
  }
  stream.arrive(*gots_[rank], step);
  return true;
}

void Communicator::queue_reduction(const Exchange& exchange, const Round& round, Stream& stream) {
  const Region to = round.part(exchange.reduced);
  if (to.bytes() == 0) return;
  sources_.clear();
  for (const auto& [peer, shard, unused, own] : exchange.gets) {
    sources_.push_back(own.data != nullptr ? round.part(own) : round.staged(peer, shard, got_step_ + 1, to.bytes()));
  }
  stream.reduce(to, sources_, *exchange.reduction, factors_);
}

void Communicator::compare_labels(Call& call) {
  const size_t place = call.label.number % 4;
  const auto fingerprint_of = [&](size_t rank) {
    return puts_[rank]->fingerprint[place].load(std::memory_order_relaxed);
  };
  for (size_t rank = 1; rank < puts_.size(); ++rank) {
    if (fingerprint_of(rank) != fingerprint_of(0)) misfit(rank, place);
  }
  call.at.compared = true;
  find_factors(call.label, place);
}

void Communicator::misfit(size_t rank, size_t place) {
  const auto label_of = [&](size_t who) -> const Label& {
    return staging_.member(static_cast<int>(who)).labels[place];
  };
  const auto called = [&](size_t who) {
    return concat(watchdog_.name_of(static_cast<int>(who)), " called ", label_of(who).to_string());
  };
  abort(concat(called(rank), " where ", called(0), ", call ", label_of(0).number));
  throw GroupError(staging_.control().reason);
}

void Communicator::find_factors(const Label& label, size_t place) {
  factors_.clear();
  if (!label.has_factor()) return;
  for (size_t rank = 0; rank < puts_.size(); ++rank) {
    factors_.push_back(&staging_.member(static_cast<int>(rank)).labels[place].factor);
  }
}

}  // namespace pinnedpg
