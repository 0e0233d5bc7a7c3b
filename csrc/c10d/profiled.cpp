// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "c10d/profiled.h"

#include <ATen/core/ivalue.h>

namespace pinnedpg {

void Profiled::begin(const char* title, const std::vector<at::Tensor>& inputs) {
  record_.emplace(at::RecordScope::USER_SCOPE);
  if (!record_->isActive()) return;
  record_->_setAsync();  // as torch's own backends': what has been queued goes on after the end
  inputs_.assign(inputs.begin(), inputs.end());
  record_->before(title, c10::ArrayRef<const c10::IValue>(inputs_.data(), inputs_.size()));
}

}  // namespace pinnedpg
