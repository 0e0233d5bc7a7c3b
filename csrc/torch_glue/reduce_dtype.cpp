// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "torch_glue/reduce_dtype.h"

#include <string_view>

namespace pinnedpg {

std::optional<DType> dtype_of(c10::ScalarType type) {
  using enum c10::ScalarType;
  static constexpr c10::ScalarType kTypes[kDTypeCount] = {
      Byte,           Char,     Short, Int,    Long,         UInt16,        UInt32,        UInt64,      Bool,
      Half,           BFloat16, Float, Double, ComplexFloat, ComplexDouble, Float8_e4m3fn, Float8_e5m2, Float8_e4m3fnuz,
      Float8_e5m2fnuz};
  for (int i = 0; i < kDTypeCount; ++i) {
    if (kTypes[i] == type) return static_cast<DType>(i);
  }
  return std::nullopt;
}

namespace {

using Name = std::array<char, 16>;

Name as_label(std::string_view name) {
  Name label{};
  name.copy(label.data(), label.size());
  return label;
}

}  // namespace

Name dtype_label(c10::ScalarType type) {
  static const auto known = [] {
    std::array<Name, kDTypeCount> labels;
    for (int i = 0; i < kDTypeCount; ++i) labels[static_cast<size_t>(i)] = as_label(dtype_name(static_cast<DType>(i)));
    return labels;
  }();
  const std::optional<DType> dtype = dtype_of(type);
  return dtype ? known[static_cast<size_t>(*dtype)] : as_label(c10::getDtypeNames(type).first);
}

}  // namespace pinnedpg
