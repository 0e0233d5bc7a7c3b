// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/mailbox.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "device/wait_policy.h"

namespace pinnedpg {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

constexpr int kLooks = 16;

/// How long the worker leaves messages of GPUs alone: their streams wait for it.
constexpr std::chrono::microseconds kGpuNap{50};

}  // namespace

/// What the worker does for a mailbox until nothing is under way.
class Mailbox::Pump final : public Task {
 public:
  explicit Pump(std::shared_ptr<Mailbox> mailbox) : mailbox_(std::move(mailbox)) {}

  bool advance() override {
    // What has come is copied to its GPU by the next look; other queues wait meanwhile, so not for ever.
    for (int looks = 0; looks < kLooks && mailbox_->waiters_ == 0 && mailbox_->drive(); ++looks) continue;
    std::lock_guard lock(mailbox_->mutex_);
    return !(mailbox_->pumped_ = mailbox_->has_work());
  }
  bool doze() override {
    if (const auto wire = mailbox_->only_wire(-1)) {
      wire->doze();
      return true;
    }
    if (!mailbox_->serves_gpus()) return false;
    std::this_thread::sleep_for(kGpuNap);
    return true;
  }
  void rouse() override {
    if (const auto wire = mailbox_->only_wire(-1)) wire->rouse();
  }
  void finish(std::exception_ptr) override { mailbox_ = nullptr; }

 private:
  std::shared_ptr<Mailbox> mailbox_;
};

/// Runs the body under the lock; what it raises closes the mailbox. Then tells whom it may concern.
template <typename Body>
void Mailbox::guarded(Body body) {
  std::vector<MessagePtr> done;
  std::string reason;
  {
    std::lock_guard lock(mutex_);
    try {
      body();
    } catch (const GroupError& error) {
      close(reason = error.what());
    } catch (const std::exception& error) {
      close(reason = concat("send, recv: rank ", rendezvous_.rank, " failed: ", error.what()));
    }
    done.swap(done_);
  }
  for (const MessagePtr& message : done) message->complete();
  if (!reason.empty()) failed_(reason);
}

void Mailbox::post(MessagePtr message) {
  std::string closed;
  guarded([&] {
    closed = closed_;
    const auto pump = [&] {
      if (pumped_ || !has_work()) return;
      queue_->push(std::make_shared<Pump>(shared_from_this()));
      pumped_ = true;
    };
    if (message->cuda) {  // what is queued is kept till its end, whatever comes
      on_gpus_.push_back(message->cuda);
      pump();
    }
    if (!closed.empty()) {
      if (message->cuda) message->cuda->come(false);
    } else {
      message->is_send() ? post_send(std::move(message)) : post_receive(std::move(message));
      drive_locked();
    }
    pump();
  });
  if (!closed.empty()) throw GroupError(closed);
}

Peer& Mailbox::peer(int rank) {
  return peers_.try_emplace(rank, rendezvous_, rank, static_cast<Peer::Desk&>(*this)).first->second;
}

void Mailbox::post_send(MessagePtr message) {
  if (message->peer != rendezvous_.rank) return peer(message->peer).send(std::move(message));
  const FrameHead head{FrameHead::Kind::kWhole, message->tag, 0, message->region.bytes(), 0, message->dtype};
  ++own_;
  arrived({message->peer, head, {}, message});
}

void Mailbox::post_receive(MessagePtr message) {
  const auto fits = [&](const Arrival& arrival) { return message->matches(arrival.source, arrival.head.tag); };
  const auto found = std::find_if(arrivals_.begin(), arrivals_.end(), fits);
  if (found != arrivals_.end()) {
    const Arrival arrival = std::move(*found);
    arrivals_.erase(found);
    return hand_over(arrival, std::move(message));
  }
  // Where a message may come from must be connected to.
  for (int rank = 0; rank < rendezvous_.world_size; ++rank) {
    if (rank != rendezvous_.rank && (message->peer == -1 || message->peer == rank)) peer(rank);
  }
  posted_.push_back(std::move(message));
}

void Mailbox::arrived(Arrival arrival) {
  const auto fits = [&](const MessagePtr& receive) { return receive->matches(arrival.source, arrival.head.tag); };
  const auto found = std::find_if(posted_.begin(), posted_.end(), fits);
  if (found == posted_.end()) return arrivals_.push_back(std::move(arrival));
  MessagePtr receive = std::move(*found);
  posted_.erase(found);
  hand_over(arrival, std::move(receive));
}

void Mailbox::hand_over(const Arrival& arrival, MessagePtr receive) {
  const FrameHead& head = arrival.head;
  if (head.bytes != receive->region.bytes() || head.dtype != receive->dtype) {
    const std::string expected = receive->to_string();
    posted_.push_front(std::move(receive));  // both are under way, and told so as all others
    if (arrival.own) arrivals_.push_front(arrival);
    throw GroupError(concat("recv: rank ", rendezvous_.rank, " expects ", expected, " from rank ", arrival.source,
                            ", which has sent ", Message::describe(head.dtype, head.bytes, head.tag)));
  }
  receive->peer = arrival.source;  // whom it waits for from now on
  receive->work->set_source(arrival.source);
  if (!arrival.bytes.empty()) std::memcpy(receive->region.data, arrival.bytes.data(), arrival.bytes.size());
  if (!arrival.own) return peer(arrival.source).accept(head, std::move(receive));
  --own_;
  own_moving_.emplace_back(arrival.own, std::move(receive));
}

bool Mailbox::move_own() {
  const auto moves = [this](auto& pair) {
    const auto& [send, receive] = pair;
    if (!send->is_ready()) return false;
    if (send->region.bytes() > 0) std::memcpy(receive->region.data, send->region.data, send->region.bytes());
    finished(send);
    finished(receive);
    return true;
  };
  return std::erase_if(own_moving_, moves) > 0;
}

void Mailbox::help(int peer, steady_clock::time_point end, c10::function_ref<bool()> over) {
  const Waiter waiter(*this);
  const WaitPolicy policy = WaitPolicy::for_ranks(world_size());
  int idle = 0;
  while (!over() && steady_clock::now() < end) {
    if (drive()) {
      idle = 0;
      continue;
    }
    ++idle;
    if (idle <= policy.spins) {
      pause();
      continue;
    }
    if (yield_core() && idle <= policy.spins + policy.yields) continue;
    if (const auto wire = only_wire(peer)) {
      wire->sleep();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
}

bool Mailbox::drive() {
  bool moved = false;
  guarded([&] { moved = drive_locked(); });
  return moved;
}

bool Mailbox::drive_locked() {
  bool moved = false;
  for (auto& [rank, peer] : peers_) moved |= peer.drive();
  moved |= move_own();
  attend_gpus();
  if (leaving_) end_unmatched();
  if (leaving_ && moved) leaving_ = steady_clock::now();
  if (!moved && is_busy()) patrol();
  return moved;
}

std::shared_ptr<Wire> Mailbox::only_wire(int peer) {
  std::lock_guard lock(mutex_);
  const bool may_move = std::any_of(on_gpus_.begin(), on_gpus_.end(), [](auto& one) { return one->is_under_way(); });
  if (may_move) return nullptr;
  std::shared_ptr<Wire> only;
  for (const auto& [rank, one] : peers_) {
    const auto comes_from = [&](const MessagePtr& receive) { return receive->peer == -1 || receive->peer == rank; };
    if (rank != peer && !one.is_busy() && std::none_of(posted_.begin(), posted_.end(), comes_from)) continue;
    if (only || !one.wire()) return nullptr;
    only = one.wire();
  }
  return only;
}

bool Mailbox::is_busy() const {
  return !posted_.empty() || own_ > 0 || !own_moving_.empty() ||
         std::any_of(peers_.begin(), peers_.end(),
                     [this](auto& one) { return one.second.is_busy() || (leaving_ && one.second.is_unseen()); });
}

std::vector<MessagePtr> Mailbox::outstanding() const {
  std::vector<MessagePtr> all(posted_.begin(), posted_.end());
  for (const auto& [rank, peer] : peers_) {
    const std::vector<MessagePtr> its = peer.outstanding();
    all.insert(all.end(), its.begin(), its.end());
  }
  for (const Arrival& arrival : arrivals_) {
    if (arrival.own) all.push_back(arrival.own);
  }
  for (const auto& [send, receive] : own_moving_) all.insert(all.end(), {send, receive});
  return all;
}

void Mailbox::close(const std::string& reason) {
  if (closed_.empty()) closed_ = reason;
  for (auto& [rank, peer] : peers_) peer.abort(reason);
  end_all(reason);
}

void Mailbox::end_all(const std::string& reason) {
  for (const MessagePtr& message : outstanding()) {
    message->error = reason;
    done_.push_back(message);
  }
  peers_.clear();
  posted_.clear();
  arrivals_.clear();
  own_moving_.clear();
  own_ = 0;
}

void Mailbox::leave(const std::string& reason) {
  guarded([&] {
    if (!closed_.empty()) return;
    drive_locked();  // what has come is matched
    closed_ = reason;
    leaving_ = steady_clock::now();
    end_unmatched();
  });
}

void Mailbox::end_unmatched() {
  const auto end = [this](const MessagePtr& message) {
    message->error = closed_;
    done_.push_back(message);
  };
  for (const MessagePtr& receive : posted_) end(receive);
  for (const Arrival& arrival : arrivals_) {
    if (arrival.own) end(arrival.own);
  }
  posted_.clear();
  arrivals_.clear();
  own_ = 0;
  for (auto& [rank, peer] : peers_) peer.leave(closed_);
}

void Mailbox::keep_promises() {
  std::vector<c10::intrusive_ptr<WorkMessage>> promised;
  {
    std::lock_guard lock(mutex_);
    for (const MessagePtr& message : outstanding()) {
      if (message->work->is_promised()) promised.push_back(message->work);
    }
  }
  for (const auto& work : promised) work->settle();
}

void Mailbox::abort(const std::string& reason) {
  std::vector<MessagePtr> done;
  {
    std::lock_guard lock(mutex_);
    close(reason);
    done.swap(done_);
  }
  for (const MessagePtr& message : done) message->complete();
}

}  // namespace pinnedpg
