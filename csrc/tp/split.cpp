// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/split.h"

#include <algorithm>

#include "base/check.h"

namespace pinnedpg::tp {

const char* split_name(int type) {
  constexpr const char* names[kSplitTypes] = {"KV", "ID", "VC", "RS", "Q"};
  return type >= 0 && type < kSplitTypes ? names[type] : "?";
}

void check_shares(const Split& split, const char* argument) {
  int64_t end = 0;
  for (size_t i = 0; i < split.size(); ++i) {
    const Share& share = split[i];
    PINNEDPG_CHECK(share.begin == end, "make_tp_context: ", argument, "[", i,
                   "] must begin where the share before it ends, at ", end, "; got (", share.device, ", ", share.begin,
                   ", ", share.end, ")");
    PINNEDPG_CHECK(share.end >= share.begin, "make_tp_context: ", argument, "[", i,
                   "] must not end before it begins; got (", share.device, ", ", share.begin, ", ", share.end, ")");
    PINNEDPG_CHECK(share.end <= kMostUnits, "make_tp_context: ", argument, "[", i, "] must end at ", kMostUnits,
                   " or before; got ", share.end);
    end = share.end;
  }
}

std::vector<int> devices_of(const Split& split) {
  std::vector<int> devices;
  for (const Share& share : split) devices.push_back(share.device);
  std::sort(devices.begin(), devices.end());
  devices.erase(std::unique(devices.begin(), devices.end()), devices.end());
  return devices;
}

std::ostream& operator<<(std::ostream& out, const Listed& listed) {
  out << '[';
  for (size_t i = 0; i < listed.devices.size(); ++i) out << (i == 0 ? "" : ", ") << listed.devices[i];
  return out << ']';
}

}  // namespace pinnedpg::tp
