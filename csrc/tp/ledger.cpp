// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/ledger.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "tp/split.h"

namespace pinnedpg::tp {

namespace {

constexpr int kStages = 3;

/// A use as a step that flags can still be compared with, on their circle of 2^32: a later step than needed does no
/// harm once the one meant is so long ago.
uint64_t comparable(uint64_t use, uint64_t steps) {
  constexpr uint64_t kFar = uint64_t{1} << 30;
  return use == 0 || steps <= kFar ? use : std::max(use, steps - kFar);
}

}  // namespace

std::string Signature::to_string() const {
  std::string text = concat(label().name(), "(");
  if (kind == CallKind::kTpCrossDeviceBarrier)
    return concat(text, split_name(type), ", stage ", stage, ", then ", next_stage, ")");
  text += concat(dtype_text(dtype), "[", rows, ", ", cols, "], buffer ", buffer);
  if (type >= 0) text += concat(", ", split_name(type));
  if (kind == CallKind::kTpGather)
    text += concat(" to ", type_target < 0 ? std::to_string(type_target) : split_name(type_target));
  if (kind == CallKind::kTpBroadcast) text += concat(", ", route < 0 ? "in place" : concat("put by member ", route));
  return text + (part == 0 ? ")" : concat("), part ", part));
}

Label Signature::label() const {
  Label label;
  label.kind = kind;
  label.root = buffer;
  label.count = static_cast<uint64_t>(rows * cols);
  label.dtype = dtype;
  // No number of ranks' sizes, but the same to the fingerprint: all that must agree beyond the fields above.
  for (const int64_t field : {int64_t{part}, int64_t{type}, int64_t{type_target}, int64_t{route}, int64_t{stage},
                              int64_t{next_stage}, rows}) {
    label.layout = (label.layout ^ static_cast<uint64_t>(field + 2)) * 0xff51afd7ed558ccd;
    label.layout ^= label.layout >> 32;
  }
  return label;
}

Ledger::Ledger(size_t world_size, size_t buffers)
    : issued_(world_size),
      steps_(world_size),
      next_stage_(world_size),
      uses_(world_size, std::vector<uint64_t>(buffers)),
      settled_(buffers) {}

Signature Ledger::resolve(size_t rank, Signature signature) const {
  if (signature.kind != CallKind::kTpCrossDeviceBarrier) return signature;
  if (signature.stage < 0) signature.stage = next_stage_[rank];
  if (signature.next_stage < 0) signature.next_stage = (signature.stage + 1) % kStages;
  return signature;
}

void Ledger::check(const char* function, const std::vector<int>& devices, size_t rank, size_t ahead,
                   const Signature& signature) const {
  const uint64_t at = issued_[rank] + ahead - complete_;
  if (at >= calls_.size() || calls_[at] == signature) return;
  size_t other = 0;
  while (issued_[other] <= complete_ + at) ++other;
  throw ValueError(concat(function, ": device ", devices[rank], "'s leg must be of the call that device ",
                          devices[other], " has made, ", calls_[at].to_string(), "; got ", signature.to_string()));
}

void Ledger::issue(size_t rank, const Signature& signature, size_t steps, const std::vector<int>& buffers) {
  if (issued_[rank] - complete_ == calls_.size()) calls_.push_back(signature);
  ++issued_[rank];
  steps_[rank] += steps;
  for (const int buffer : buffers) uses_[rank][static_cast<size_t>(buffer)] = steps_[rank];
  if (signature.kind == CallKind::kTpCrossDeviceBarrier) next_stage_[rank] = signature.next_stage;
  const uint64_t complete = *std::min_element(issued_.begin(), issued_.end());
  for (; complete_ < complete; ++complete_) calls_.pop_front();
}

size_t Ledger::missing() const {
  return static_cast<size_t>(std::min_element(issued_.begin(), issued_.end()) - issued_.begin());
}

uint64_t Ledger::last_use(size_t rank, int buffer) const {
  return comparable(uses_[rank][static_cast<size_t>(buffer)], steps_[rank]);
}

void Ledger::settle() {
  for (size_t buffer = 0; buffer < settled_.size(); ++buffer) {
    for (const auto& uses : uses_) settled_[buffer] = std::max(settled_[buffer], uses[buffer]);
    settled_[buffer] = comparable(settled_[buffer], steps_[0]);
  }
}

}  // namespace pinnedpg::tp
