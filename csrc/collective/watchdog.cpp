// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "collective/watchdog.h"

#include <iomanip>
#include <sstream>
#include <thread>

#include "base/log.h"

namespace pinnedpg {

namespace {

constexpr std::chrono::milliseconds kLookEvery{20};

}  // namespace

void Watchdog::begin(const char* name, std::chrono::milliseconds timeout) {
  name_ = name;
  timeout_ = timeout;
  began_ = {};  // the clock is read when the first wait turns out to be long
  check_abort();
}

void Watchdog::check_abort() const {
  const Control& control = staging_.control();
  if (control.aborted()) throw GroupError(control.reason);
  const Halt halt = control.halt.load(std::memory_order_relaxed);
  if (halt == Halt::kAborted) {  // a GPU may have seen it, and left, before the reason is there
    for (int look = 0; look < 1000 && !control.aborted(); ++look) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    give_up("the group was aborted");
  }
  if (halt == Halt::kLate) {
    give_up("a GPU waited longer than the timeout of a call for another rank; all ranks must replay the same graphs");
  }
  if (halt == Halt::kMisfit) {
    give_up("a call in a CUDA graph met another one: all ranks must capture the same calls, and replay them alike");
  }
}

void Watchdog::patrol(std::span<Flag* const> flags, uint32_t step) {
  check_abort();
  if (!is_due()) return;
  for (const Flag* flag : flags) {
    if (flag->has_reached(step)) continue;
    if (const auto rank = writer_of(flag)) {
      look_after(*rank, *flag, step);
    } else if (timed_out()) {
      give_up_waiting_for("an earlier call of other members on the same memory");
    }
  }
}

bool Watchdog::is_due() {
  const auto now = std::chrono::steady_clock::now();
  if (began_ == std::chrono::steady_clock::time_point{}) began_ = last_look_ = now;
  if (now - last_look_ < kLookEvery) return false;
  last_look_ = now;
  return true;
}

void Watchdog::look_for(const std::function<bool(int rank)>& is_late) {
  check_abort();
  if (!is_due()) return;
  const int world_size = staging_.geometry().world_size;
  const bool over = timed_out();  // for all of them: who is late must not be passed over for the time of day
  for (int i = 1; i <= world_size; ++i) {
    const int rank = (rank_ + i) % world_size;
    if (!is_late(rank)) continue;
    const std::string fate = fate_of(rank);
    if (fate.empty() && !over) continue;
    const std::string which = concat(name_of(rank), fate.empty() ? "" : ", ", fate, last_call(rank));
    // It may have come, and gone thereafter.
    if (!fate.empty() && is_late(rank)) give_up(concat(name_of(rank_), " waits for ", which));
    if (over) give_up_waiting_for(which);
  }
  if (over) give_up_waiting_for("its GPU");
}

std::optional<int> Watchdog::writer_of(const Flag* flag) const {
  const int world_size = staging_.geometry().world_size;
  for (const Flag* first : {&staging_.put(0), &staging_.got(0)}) {
    if (flag >= first && flag < first + world_size) return static_cast<int>(flag - first);
  }
  return std::nullopt;
}

std::string Watchdog::fate_of(int rank) const {
  const Absentee absentee = this->absentee(rank);
  if (!absentee.left.empty()) return "which " + absentee.left;
  if (staging_.member(rank).presence.load() == Presence::kLeft) return "which has left the group";
  const ProcessId process = is_absent(rank) ? absentee.process : process_of(rank);
  return life_of(process) == Life::kGone ? concat("whose process ", process.pid, " is gone") : "";
}

ProcessId Watchdog::process_of(int rank) const {
  return is_absent(rank) ? absentee(rank).process : staging_.member(rank).process;
}

void Watchdog::look_after(int rank, const Flag& flag, uint32_t step) {
  const std::string fate = fate_of(rank);
  const uint32_t at = flag.step.load();
  if (reached(at, step)) return;  // it has come, and gone thereafter
  if (!fate.empty()) {
    give_up(concat(name_of(rank_), " waits for ", name_of(rank), ", ", fate, "; it was ", whereabouts(rank, at, step)));
  }
  if (!timed_out()) return;
  const ProcessId process = process_of(rank);
  const char* life[] = {"is alive", "is gone", "cannot be seen from here"};
  std::string text = concat(name_of(rank), ", which is ", whereabouts(rank, at, step));
  if (process.pid != 0) text += concat("; its process ", process.pid, ' ', life[static_cast<int>(life_of(process))]);
  give_up_waiting_for(text);
}

bool Watchdog::timed_out() const { return std::chrono::steady_clock::now() - began_ >= timeout_; }

void Watchdog::give_up_waiting_for(const std::string& awaited) const {
  const auto waited = std::chrono::steady_clock::now() - began_;
  std::ostringstream text;
  text << name_of(rank_) << " waited " << std::fixed << std::setprecision(1)
       << std::chrono::duration<double>(waited).count() << " s (the timeout of the call) for " << awaited;
  give_up(text.str());
}

void Watchdog::give_up(const std::string& reason) const {
  PINNEDPG_LOG(kInfo, kColl, "gives up: ", name_, ": ", reason);
  abort_group(staging_.control(), concat(name_, ": ", reason));
  throw GroupError(staging_.control().reason);
}

std::string Watchdog::whereabouts(int rank, uint32_t at, uint32_t step) const {
  if (is_absent(rank)) return "not in the group yet (it has made no call)";
  return concat("at step ", at, " of ", step, last_call(rank));
}

std::string Watchdog::last_call(int rank) const {
  // A torn read costs no more than an odd word in the text of an error.
  const Label* newest = nullptr;
  for (const Label& label : staging_.member(rank).labels) {
    if (label.number != 0 && (newest == nullptr || label.number > newest->number)) newest = &label;
  }
  return newest == nullptr ? "" : concat(", its last call ", newest->to_string(), ", call ", newest->number);
}

Watchdog::Absentee Watchdog::absentee(int rank) const {
  return is_absent(rank) && lookup_ ? lookup_(rank) : Absentee{};
}

}  // namespace pinnedpg
