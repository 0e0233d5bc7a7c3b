// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/peer.h"

#include <algorithm>

#include "device/threads.h"

namespace pinnedpg {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Larger messages wait at the sender for a receive to be posted; smaller ones wait in the receiver's memory.
constexpr size_t kWholeBytes = 32 << 10;

/// The wires of all pairs share a quarter of the group's budget, but have no less than this each.
constexpr size_t kLeastBytes = 32 << 10;

/// Half a MiB is on its way at once, where the budget allows.
Geometry geometry_of(const Rendezvous& at) {
  const size_t pairs = static_cast<size_t>(at.world_size) * static_cast<size_t>(at.world_size - 1) / 2;
  const size_t budget = static_cast<size_t>(at.options->budget_bytes) / 4 / pairs;
  return Geometry::fit(2, 64 << 10, 8, 0, std::max(budget, kLeastBytes));
}

}  // namespace

void Peer::send(MessagePtr message) {
  message->id = ++sent_;
  new_.push_back(std::move(message));
}

void Peer::accept(const FrameHead& head, MessagePtr receive) {
  FrameHead answer = head;
  answer.kind = FrameHead::Kind::kAccept;
  answer.payload_bytes = 0;
  const bool whole = head.kind == FrameHead::Kind::kWhole;
  // The sender is told before the receive is over: this rank may leave then.
  answers_.emplace_back(answer, whole ? receive : nullptr);
  if (!whole) coming_[head.id] = std::move(receive);
}

bool Peer::is_busy() const {
  return !new_.empty() || !told_.empty() || !moving_.empty() || !answers_.empty() || !coming_.empty();
}

bool Peer::connect() {
  if (wire_) return true;
  const bool creates = rendezvous_.rank < rank_;
  if (!opening_.valid()) {
    if (steady_clock::now() < next_try_) return false;
    const auto [low, high] = std::minmax(rendezvous_.rank, rank_);
    const std::string key = concat("wire/", low, '/', high);
    opening_ = creates ? aside([at = rendezvous_, key] { return at.create(key, geometry_of(at), at.options->timeout); })
                       : aside([at = rendezvous_, key] { return at.open(key, at.options->timeout).segment; });
  }
  if (!is_ready(opening_)) return false;
  segment_ = opening_.get();
  if (!segment_) {
    next_try_ = steady_clock::now() + pause_;
    pause_ = std::min(2 * pause_, milliseconds(20));
    return false;
  }
  const Staging staging(segment_->data(), reinterpret_cast<const Control*>(segment_->data())->geometry);
  const int side = creates ? 0 : 1;
  segment_->reserve(staging.slots_begin(side), staging.slots_bytes());
  const auto name = [own = rendezvous_.rank, side, other = rank_](int member) {
    return concat("rank ", member == side ? own : other);
  };
  wire_ = std::make_shared<Wire>(segment_, staging, side, name);
  return true;
}

bool Peer::drive() {
  if (!connect()) return false;
  bool moved = false;
  while (const FrameHead* head = wire_->front()) {
    if (segment_) std::exchange(segment_, nullptr)->seal();  // both are there
    take(*head);
    wire_->pop();
    moved = true;
  }
  moved |= put_answers();
  moved |= put_new();
  moved |= put_parts();
  return moved;
}

void Peer::take(const FrameHead& head) {
  switch (head.kind) {
    case FrameHead::Kind::kWhole: {
      Arrival arrival{rank_, head, {}, nullptr};
      const Region payload = wire_->payload();
      arrival.bytes.assign(payload.data, payload.data + payload.bytes());
      desk_.arrived(std::move(arrival));
      break;
    }
    case FrameHead::Kind::kOffer:
      desk_.arrived({rank_, head, {}, nullptr});
      break;
    case FrameHead::Kind::kAccept: {
      const auto node = told_.extract(head.id);
      if (node.empty()) break;  // the send had been given up
      if (node.mapped()->moved == node.mapped()->region.bytes()) {
        desk_.finished(node.mapped());
      } else {
        moving_.push_back(node.mapped());
      }
      break;
    }
    case FrameHead::Kind::kPart: {
      Message& receive = *coming_.at(head.id);
      wire_->copy_payload(receive.region.cut(receive.moved, head.payload_bytes));
      receive.moved += head.payload_bytes;
      if (receive.moved == head.bytes) desk_.finished(coming_.extract(head.id).mapped());
      break;
    }
  }
}

bool Peer::put_answers() {
  bool moved = false;
  const auto can_go = [this] { return wire_->put(answers_.front().first, {}) || wire_->is_deserted(); };
  for (; !answers_.empty() && can_go(); answers_.pop_front(), moved = true) {
    if (answers_.front().second) desk_.finished(std::move(answers_.front().second));
  }
  return moved;
}

bool Peer::goes_whole(const Message& message) const {
  const size_t most = std::min(kWholeBytes, wire_ ? wire_->room() : kWholeBytes);
  return message.region.bytes() <= most && message.is_ready();
}

bool Peer::put_new() {
  bool moved = false;
  for (; !new_.empty(); new_.pop_front(), moved = true) {
    Message& message = *new_.front();
    const size_t bytes = message.region.bytes();
    const bool whole = goes_whole(message);
    // What the GPU has yet to bring may go whole in a moment. It is offered where that would hold up another.
    if (!whole && bytes <= kWholeBytes && new_.size() == 1 && !message.is_ready()) break;
    const FrameHead head{whole ? FrameHead::Kind::kWhole : FrameHead::Kind::kOffer,
                         message.tag,
                         message.id,
                         bytes,
                         whole ? bytes : 0,
                         message.dtype};
    if (!wire_->put(head, whole ? message.region : Region{})) break;
    if (whole) message.moved = bytes;
    told_[message.id] = new_.front();
  }
  return moved;
}

bool Peer::put_parts() {
  bool moved = false;
  for (auto next = moving_.begin(); next != moving_.end();) {
    Message& message = **next;
    if (message.moved == 0 && !message.is_ready()) {  // the GPU has yet to bring it
      ++next;
      continue;
    }
    const Region part = message.region.cut(message.moved, wire_->room());
    const FrameHead head{FrameHead::Kind::kPart, message.tag, message.id, message.region.bytes(), part.bytes(), {}};
    if (!wire_->put(head, part)) break;
    moved = true;
    message.moved += part.bytes();
    if (message.moved < message.region.bytes()) continue;
    desk_.finished(std::move(*next));
    next = moving_.erase(next);
  }
  return moved;
}

void Peer::look_after(const char* operation) {
  const auto has_met = [this] { return wire_ && wire_->met(); };
  if (has_met()) return wire_->look_after(operation);
  Watchdog::Absentee absentee = absentees_.find(rank_);
  if (absentee.left.empty() && desk_.has_left(rank_)) absentee.left = "has left the group";
  const bool is_gone = life_of(absentee.process) == Life::kGone;
  if ((absentee.left.empty() && !is_gone) || has_met()) return;
  throw GroupError(concat(
      operation, ": rank ", rendezvous_.rank, " waits for rank ", rank_, ", ",
      absentee.left.empty() ? concat("whose process ", absentee.process.pid, " is gone") : "which " + absentee.left));
}

void Peer::abort(const std::string& reason) {
  if (wire_) wire_->abort(reason);
}

void Peer::leave(const std::string& reason) {
  const auto end = [&](const MessagePtr& message) {
    message->error = reason;
    desk_.finished(message);
  };
  for (const auto& [id, message] : told_) end(message);
  told_.clear();
  std::erase_if(new_, [&](const MessagePtr& message) {
    const bool waits = !goes_whole(*message);
    if (waits) end(message);
    return waits;
  });
}

std::vector<MessagePtr> Peer::outstanding() const {
  std::vector<MessagePtr> all(new_.begin(), new_.end());
  all.insert(all.end(), moving_.begin(), moving_.end());
  for (const auto* by_id : {&told_, &coming_}) {
    for (const auto& [id, message] : *by_id) all.push_back(message);
  }
  for (const auto& [head, receive] : answers_) {
    if (receive) all.push_back(receive);
  }
  return all;
}

}  // namespace pinnedpg
