// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/board.h"

#include <c10/util/Exception.h>

#include "base/check.h"
#include "base/interrupt.h"
#include "base/limit.h"
#include "device/threads.h"

namespace pinnedpg {

namespace {

constexpr std::chrono::milliseconds kLookEvery{50};

/// What a call of the Store returns, which a spare thread makes.
template <typename Body>
auto answer(std::chrono::milliseconds limit, Body body) {
  const auto end = std::chrono::steady_clock::now() + bounded(limit);
  auto coming = aside(std::move(body));
  while (coming.wait_until(std::min(end, std::chrono::steady_clock::now() + kLookEvery)) != std::future_status::ready) {
    check_interrupts();
    if (std::chrono::steady_clock::now() < end) continue;
    throw GroupError(concat("init: the Store must answer; it has not for ", limit.count() / 1000.0,
                            " s: the process that serves it may be stopped"));
  }
  try {
    return coming.get();
  } catch (const c10::Error& error) {
    throw GroupError(concat("init: the Store must answer; got ", error.what_without_backtrace()));
  } catch (const std::exception& error) {
    throw GroupError(concat("init: the Store must answer; got ", error.what()));
  }
}

}  // namespace

std::optional<std::string> Board::look_up(const std::string& key, Milliseconds limit) const {
  return answer(limit, [store = store_, name = prefix_ + key]() -> std::optional<std::string> {
    if (!store->check({name})) return std::nullopt;
    const std::vector<uint8_t> value = store->get(name);
    return std::string(value.begin(), value.end());
  });
}

void Board::publish(const std::string& key, const std::string& value, Milliseconds limit) const {
  answer(limit, [store = store_, name = prefix_ + key, bytes = std::vector<uint8_t>(value.begin(), value.end())] {
    store->set(name, bytes);
  });
}

int64_t Board::count(const std::string& key, Milliseconds limit) const {
  return answer(limit, [store = store_, name = prefix_ + key] { return store->add(name, 1); });
}

}  // namespace pinnedpg
