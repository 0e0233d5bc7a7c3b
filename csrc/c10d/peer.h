// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#pragma once

#include <deque>
#include <future>
#include <map>
#include <memory>
#include <vector>

#include "c10d/message.h"
#include "c10d/rendezvous.h"

namespace pinnedpg {

/// A message that has come and no receive was posted for yet.
struct Arrival {
  int source;
  FrameHead head;
  std::vector<std::byte> bytes;  ///< of a whole message
  MessagePtr own;                ///< sent by the rank to itself: its bytes lie there
};

/// What one rank has under way with one other: it moves frames, and leaves it to the mailbox which receive gets which
/// message. Never blocks. One thread at a time.
class Peer {
 public:
  /// Where the mailbox comes in.
  class Desk {
   public:
    virtual ~Desk() = default;
    virtual void arrived(Arrival arrival) = 0;
    virtual void finished(MessagePtr message) = 0;
    /// Whether that rank, which took part in collectives, has left the group.
    virtual bool has_left(int rank) const = 0;
  };

  Peer(const Rendezvous& rendezvous, int rank, Desk& desk) : rendezvous_(rendezvous), rank_(rank), desk_(desk) {}

  void send(MessagePtr message);
  /// A receive has been posted for the message that arrived with that head: tells the sender. A message that did not
  /// come whole then follows.
  void accept(const FrameHead& head, MessagePtr receive);

  /// Moves what can be moved. True: something has.
  bool drive();
  /// Whether something is under way that `drive` has to see to.
  bool is_busy() const;
  /// Raises GroupError if the rank is gone.
  void look_after(const char* operation);
  void abort(const std::string& reason);
  /// This rank leaves the group: ends what only a later receive of the other's could match. What the other has accepted
  /// goes on, and what waits in its own memory stays there for it.
  void leave(const std::string& reason);
  /// Whether the other has yet to map what this rank has put for it.
  bool is_unseen() const { return sent_ > 0 && wire_ && !wire_->met(); }
  /// Everything that is under way.
  std::vector<MessagePtr> outstanding() const;

  /// Whether the other has come, and is of another process.
  bool is_elsewhere() const { return wire_ && wire_->met() && !wire_->is_local(); }
  bool is_local() const { return wire_ && wire_->met() && wire_->is_local(); }

  /// Null: there is none yet.
  std::shared_ptr<Wire> wire() const { return wire_; }

 private:
  bool connect();
  void take(const FrameHead& head);
  bool put_answers();
  bool goes_whole(const Message& message) const;
  bool put_new();
  bool put_parts();

  const Rendezvous rendezvous_;
  const int rank_;
  Desk& desk_;
  std::shared_ptr<Segment> segment_;
  std::shared_ptr<Wire> wire_;
  std::future<std::shared_ptr<Segment>> opening_;
  std::chrono::steady_clock::time_point next_try_;
  std::chrono::milliseconds pause_{1};
  Absentees absentees_{rendezvous_};
  uint64_t sent_ = 0;
  std::deque<MessagePtr> new_;                            ///< sends that the peer has not heard of
  std::map<uint64_t, MessagePtr> told_;                   ///< sends that it has, by id
  std::deque<MessagePtr> moving_;                         ///< sends it has accepted, whose bytes are on their way
  std::deque<std::pair<FrameHead, MessagePtr>> answers_;  ///< with the receive that is over once that is put
  std::map<uint64_t, MessagePtr> coming_;                 ///< receives of accepted messages, by the sender's id
};

}  // namespace pinnedpg
