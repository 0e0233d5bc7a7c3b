// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/mailbox.h"

#include <algorithm>
#include <cstring>
#include <thread>

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

/// What the worker does for a mailbox until nothing is under way.
class Mailbox::Pump final : public Task {
 public:
  explicit Pump(std::shared_ptr<Mailbox> mailbox) : mailbox_(std::move(mailbox)) {}

  bool advance() override {
    if (mailbox_->waiters_ == 0) mailbox_->drive();
    std::lock_guard lock(mailbox_->mutex_);
    return !(mailbox_->pumped_ = mailbox_->is_busy());
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
    if (!closed.empty()) return;
    message->is_send() ? post_send(std::move(message)) : post_receive(std::move(message));
    drive_locked();
    if (pumped_ || !is_busy()) return;
    queue_->push(std::make_shared<Pump>(shared_from_this()));
    pumped_ = true;
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
  const std::byte* bytes = arrival.own ? arrival.own->region.data : arrival.bytes.data();
  if (head.kind == FrameHead::Kind::kWhole && head.bytes > 0) std::memcpy(receive->region.data, bytes, head.bytes);
  if (!arrival.own) return peer(arrival.source).accept(head, std::move(receive));
  --own_;
  finished(arrival.own);
  finished(std::move(receive));
}

bool Mailbox::drive() {
  bool moved = false;
  guarded([&] { moved = drive_locked(); });
  return moved;
}

bool Mailbox::drive_locked() {
  bool moved = false;
  for (auto& [rank, peer] : peers_) moved |= peer.drive();
  if (leaving_) end_unmatched();
  if (leaving_ && moved) leaving_ = steady_clock::now();
  if (!moved && is_busy()) patrol();
  return moved;
}

void Mailbox::sleep(int peer) {
  std::shared_ptr<Wire> wire;
  {
    std::lock_guard lock(mutex_);
    // With more than one under way no single wire tells of all.
    const auto others = [&](auto& one) { return one.first != peer && one.second.is_busy(); };
    const bool alone = std::none_of(peers_.begin(), peers_.end(), others);
    if (const auto found = peers_.find(peer); alone && found != peers_.end()) wire = found->second.wire();
  }
  if (wire) return wire->sleep();
  std::this_thread::sleep_for(std::chrono::microseconds(200));
}

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

bool Mailbox::is_busy() const {
  return !posted_.empty() || own_ > 0 || std::any_of(peers_.begin(), peers_.end(), [this](auto& one) {
    return one.second.is_busy() || (leaving_ && one.second.is_unseen());
  });
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

bool Mailbox::is_unseen() {
  std::lock_guard lock(mutex_);
  return std::any_of(peers_.begin(), peers_.end(),
                     [](auto& one) { return !one.second.wire() || !one.second.wire()->met(); });
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
