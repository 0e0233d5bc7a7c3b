// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/cuda_probe.h"

#include <mutex>

#include "base/check.h"
#include "device/cuda_stream.h"
#include "device/threads.h"

namespace pinnedpg {

namespace {

constexpr std::chrono::milliseconds kAskEvery{50};

}  // namespace

struct CudaProbe::Question {
  explicit Question(int gpu) : gpu(gpu) {}

  void ask() {
    std::lock_guard lock(mutex);
    const CurrentDevice current(gpu);
    if (!idle) idle = std::make_unique<CudaStream>(gpu);
    (void)CudaEvent(gpu, idle->handle()).is_over();
  }

  const int gpu;
  std::mutex mutex;
  std::unique_ptr<CudaStream> idle;  ///< nothing else is queued on it
};

CudaProbe::CudaProbe(int gpu) : question_(std::make_shared<Question>(gpu)) {}

void CudaProbe::ask() const { question_->ask(); }

void CudaProbe::look() {
  if (answer_.valid()) {
    if (is_ready(answer_)) answer_.get();
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now - asked_ < kAskEvery) return;
  asked_ = now;
  try {
    answer_ = aside([question = question_] { question->ask(); });
  } catch (const SystemError&) {
    // No thread can be had: it is asked later.
  }
}

}  // namespace pinnedpg
