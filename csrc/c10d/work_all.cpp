// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/work_all.h"

#include <ATen/core/ivalue.h>

#include <algorithm>
#include <memory>
#include <set>

#include "base/limit.h"
#include "c10d/work.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using FuturePtr = c10::intrusive_ptr<c10::ivalue::Future>;

namespace {

/// Streams that nobody else's work waits for are the current ones while these live.
std::vector<std::unique_ptr<CurrentStream>> currents_aside(const std::set<c10::DeviceIndex>& gpus) {
  std::vector<std::unique_ptr<CurrentStream>> streams;
  for (const int gpu : gpus) streams.push_back(std::make_unique<CurrentStream>(gpu, side_stream(gpu)));
  return streams;
}

}  // namespace

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
  c10::List<FuturePtr> futures(c10::FutureType::create(tensors));
  std::set<c10::DeviceIndex> gpus;
  for (const auto& work : works_) {
    const FuturePtr future = work->getFuture();
    for (const c10::Device& device : future->devices()) gpus.insert(device.index());
    futures.push_back(future);
  }
  auto all = c10::make_intrusive<c10::ivalue::Future>(tensors, future_devices({gpus.begin(), gpus.end()}));
  c10::collectAll(futures)->addCallback([=](c10::ivalue::Future& done) {
    if (done.hasError()) return all->setError(done.exception_ptr());
    const auto asides = currents_aside(gpus);  // torch's futures of several know nothing of their streams
    c10::List<at::Tensor> values;
    for (const FuturePtr& future : futures) {
      future->wait();
      values.append(future->value().toTensorList());
    }
    all->markCompleted(values);
  });
  return all;
}

}  // namespace pinnedpg
