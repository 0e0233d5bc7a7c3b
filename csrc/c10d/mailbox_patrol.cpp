// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
// What ends messages that are in vain: looks at the peers, at aborts and at the deadlines.
#include <algorithm>

#include "c10d/mailbox.h"
#include "device/threads.h"

namespace pinnedpg {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPatrolEvery{20};
constexpr milliseconds kAskEvery{200};

/// How long a rank that has left stays for what it has promised while nothing of that moves. A guess.
constexpr milliseconds kFarewell{1000};

}  // namespace

void Mailbox::patrol() {
  const auto now = steady_clock::now();
  if (now - last_patrol_ < kPatrolEvery) return;
  last_patrol_ = now;
  if (leaving_ && now - *leaving_ > kFarewell) return end_all(closed_);
  check_abort();
  std::map<int, const char*> awaited;  // each once, however many messages there are
  for (const MessagePtr& message : outstanding()) {
    awaited.emplace(message->peer, message->is_send() ? "send" : "recv");
    check_deadline(*message, now);
  }
  for (const auto& [rank, operation] : awaited) {
    if (rank < 0) look_after_all(operation);
    if (rank >= 0 && rank != rendezvous_.rank) peer(rank).look_after(operation);
  }
}

void Mailbox::watch(const std::shared_ptr<Team>& team) {
  std::lock_guard lock(mutex_);
  if (team) teams_.push_back(team);
}

bool Mailbox::has_left(int rank) const {
  return std::any_of(teams_.begin(), teams_.end(), [rank](const auto& weak) {
    const auto team = weak.lock();
    return team && team->has_left(rank);
  });
}

void Mailbox::check_abort() {
  std::erase_if(teams_, [](const auto& team) { return team.expired(); });
  for (const auto& weak : teams_) {
    if (const auto team = weak.lock()) team->check();
  }
  // A rank that has none of these in common with the one that aborts, nor a wire, hears of it here.
  if (abort_.valid() && is_ready(abort_)) {
    if (const auto reason = abort_.get()) throw GroupError(*reason);
  }
  const auto now = steady_clock::now();
  if (abort_.valid() || now - last_asked_ < kAskEvery) return;
  last_asked_ = now;
  abort_ = aside([at = rendezvous_] { return at.find_abort(); });
}

void Mailbox::check_deadline(const Message& message, steady_clock::time_point now) const {
  const auto waited = now - message.posted;
  if (waited < message.timeout) return;
  const std::string whom = message.peer < 0 ? "any rank" : concat("rank ", message.peer);
  throw GroupError(concat(message.is_send() ? "send" : "recv", ": rank ", rendezvous_.rank, " waited ",
                          static_cast<double>(std::chrono::duration_cast<milliseconds>(waited).count() / 100) / 10,
                          " s (the timeout of the call) for ", whom, message.is_send() ? " to receive " : " to send ",
                          message.to_string()));
}

void Mailbox::look_after_all(const char* operation) {
  std::exception_ptr last;
  for (auto& [rank, peer] : peers_) {
    try {
      return peer.look_after(operation);  // one that may send is enough
    } catch (const GroupError&) {
      last = std::current_exception();
    }
  }
  if (last) std::rethrow_exception(last);
}

bool Mailbox::is_elsewhere(int rank) {
  std::lock_guard lock(mutex_);
  if (std::any_of(peers_.begin(), peers_.end(), [](auto& one) { return one.second.is_local(); })) return false;
  const auto found = peers_.find(rank);
  return found != peers_.end() && found->second.is_elsewhere();
}

bool Mailbox::is_unseen() {
  std::lock_guard lock(mutex_);
  return std::any_of(peers_.begin(), peers_.end(),
                     [](auto& one) { return !one.second.wire() || !one.second.wire()->met(); });
}

}  // namespace pinnedpg
