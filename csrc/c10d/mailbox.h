// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "c10d/peer.h"
#include "c10d/team.h"
#include "device/queue.h"

namespace pinnedpg {

/// The sends and receives of one rank. A message goes to the first receive that was posted for its source and tag, and
/// a receive takes the first message that has come. The sender is done once its message has a receive. Any thread may
/// call it; what is under way is moved by whoever waits, else by the worker.
class Mailbox final : public std::enable_shared_from_this<Mailbox>, private Peer::Desk {
 public:
  /// `failed` is told, once, why no message can be sent any more, where that was found here.
  using Failed = std::function<void(const std::string& reason)>;

  Mailbox(const Rendezvous& rendezvous, Failed failed) : rendezvous_(rendezvous), failed_(std::move(failed)) {}

  /// Queues a send, or a receive.
  void post(MessagePtr message);

  /// For who waits for a message of that peer (-1: of any): moves what can be moved until `over`, or a point in time.
  void help(int peer, std::chrono::steady_clock::time_point end, c10::function_ref<bool()> over);
  int world_size() const { return rendezvous_.world_size; }
  /// Whether that rank has come, and is of another process, as all are that messages have been exchanged with.
  bool is_elsewhere(int rank);

  /// Waits on the host for the messages that streams rely on.
  void keep_promises();

  /// While a thread of the caller's moves what is under way, the worker does not.
  class Waiter {
   public:
    explicit Waiter(Mailbox& mailbox) : mailbox_(mailbox) { ++mailbox_.waiters_; }
    ~Waiter() { --mailbox_.waiters_; }
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;

   private:
    Mailbox& mailbox_;
  };

  /// A team of the group: once that is aborted, by whichever rank, so is this.
  void watch(const std::shared_ptr<Team>& team);

  /// Everything under way and posted later raises the reason.
  void abort(const std::string& reason);
  /// The rank leaves the group: what is posted later, or has not been matched by now, raises the reason. The worker
  /// sees to the rest.
  void leave(const std::string& reason);
  /// Whether a rank that looks for this one may not find it in any wire.
  bool is_unseen();

 private:
  class Pump;

  void arrived(Arrival arrival) override;
  void finished(MessagePtr message) override { done_.push_back(std::move(message)); }
  Peer& peer(int rank);
  template <typename Body>
  void guarded(Body body);
  /// Moves what can be moved. True: something has.
  bool drive();
  bool drive_locked();
  bool move_own();
  /// The one that tells of all that can be moved, as far as that peer or what is under way goes; null: there is none.
  std::shared_ptr<Wire> only_wire(int peer);
  bool serves_gpus();
  void post_send(MessagePtr message);
  void post_receive(MessagePtr message);
  void hand_over(const Arrival& arrival, MessagePtr receive);
  void patrol();
  void check_deadline(const Message& message, std::chrono::steady_clock::time_point now) const;
  void look_after_all(const char* operation);
  void check_abort();
  bool has_left(int rank) const override;
  bool is_busy() const;
  void attend_gpus();
  bool has_work() const { return is_busy() || !on_gpus_.empty() || !settled_.empty(); }
  void close(const std::string& reason);
  void end_unmatched();
  void end_all(const std::string& reason);
  std::vector<MessagePtr> outstanding() const;

  const Rendezvous rendezvous_;
  const Failed failed_;
  const std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
  std::mutex mutex_;
  std::map<int, Peer> peers_;
  std::list<MessagePtr> posted_;                             ///< receives without a message, in order
  std::list<Arrival> arrivals_;                              ///< messages without a receive, in order
  std::list<std::pair<MessagePtr, MessagePtr>> own_moving_;  ///< sends to itself, with their receives
  std::list<std::shared_ptr<CudaMessage>> on_gpus_;          ///< whose copies are not over
  std::vector<std::shared_ptr<CudaMessage>> settled_;        ///< to be let go of
  std::vector<MessagePtr> done_;                             ///< to be completed once the lock is let go of
  std::string closed_;                                       ///< why nothing can be posted; empty while it can
  int own_ = 0;                                              ///< arrivals from the rank itself
  std::atomic<int> waiters_{0};
  bool pumped_ = false;  ///< the worker sees to what is under way
  std::vector<std::weak_ptr<Team>> teams_;
  std::future<std::optional<std::string>> abort_;  ///< what the Store says of one, asked aside
  std::future<void> attended_;                     ///< the messages on GPUs have been seen to, aside
  std::chrono::steady_clock::time_point last_patrol_, last_asked_, last_attended_;
  std::optional<std::chrono::steady_clock::time_point> leaving_;  ///< when something last moved since the rank left
};

}  // namespace pinnedpg
