// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/work_all.h"

#include <ATen/core/ivalue.h>

#include <algorithm>

#include "base/limit.h"
#include "c10d/work.h"

namespace pinnedpg {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

WorkAll::WorkAll(int rank, std::vector<c10::intrusive_ptr<c10d::Work>> works)
    : Work(rank, c10d::OpType::COALESCED), works_(std::move(works)) {}

bool WorkAll::isCompleted() {
  return std::all_of(works_.begin(), works_.end(), [](const auto& work) { return work->isCompleted(); });
}

bool WorkAll::isSuccess() const { return exception() == nullptr; }

std::exception_ptr WorkAll::exception() const {
  for (const auto& work : works_) {
    if (auto error = work->exception()) return error;
  }
  return nullptr;
}

bool WorkAll::wait(milliseconds timeout) {
  const auto end = timeout.count() > 0 ? steady_clock::now() + bounded(timeout) : steady_clock::time_point::max();
  std::exception_ptr first;
  for (const auto& work : works_) {
    try {
      static_cast<WorkPinned&>(*work).wait_until(end, timeout);
    } catch (...) {
      if (!first) first = std::current_exception();
    }
  }
  if (first) std::rethrow_exception(first);
  return true;
}

std::vector<at::Tensor> WorkAll::result() {
  std::vector<at::Tensor> all;
  for (const auto& work : works_) {
    const auto its = work->result();
    all.insert(all.end(), its.begin(), its.end());
  }
  return all;
}

float WorkAll::getDuration() const {
  float longest = 0;
  for (const auto& work : works_) longest = std::max(longest, work->getDuration());
  return longest;
}

uint64_t WorkAll::getSequencenumber() const { return works_.empty() ? 0 : works_.back()->getSequencenumber(); }

c10::intrusive_ptr<c10::ivalue::Future> WorkAll::getFuture() {
  const auto tensors = c10::ListType::create(c10::TensorType::get());
  c10::List<c10::intrusive_ptr<c10::ivalue::Future>> futures(c10::FutureType::create(tensors));
  for (const auto& work : works_) futures.push_back(work->getFuture());
  const auto concatenate = [](c10::ivalue::Future& done) {
    c10::List<at::Tensor> all;
    for (const c10::IValue& one : done.value().toListRef()) all.append(one.toFuture()->value().toTensorList());
    return c10::IValue(all);
  };
  return c10::collectAll(futures)->then(concatenate, tensors);
}

}  // namespace pinnedpg
