// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "device/reduce_dtype.h"

#include <string>

namespace pinnedpg {

std::optional<DType> dtype_of(c10::ScalarType type) {
  using enum c10::ScalarType;
  constexpr c10::ScalarType kTypes[kDTypeCount] = {
      Byte,           Char,     Short, Int,    Long,         UInt16,        UInt32,        UInt64,      Bool,
      Half,           BFloat16, Float, Double, ComplexFloat, ComplexDouble, Float8_e4m3fn, Float8_e5m2, Float8_e4m3fnuz,
      Float8_e5m2fnuz};
  for (int i = 0; i < kDTypeCount; ++i) {
    if (kTypes[i] == type) return static_cast<DType>(i);
  }
  return std::nullopt;
}

std::array<char, 16> dtype_label(c10::ScalarType type) {
  const std::optional<DType> dtype = dtype_of(type);
  const std::string name(dtype ? dtype_name(*dtype) : c10::getDtypeNames(type).first);
  std::array<char, 16> label{};
  name.copy(label.data(), label.size());
  return label;
}

}  // namespace pinnedpg
