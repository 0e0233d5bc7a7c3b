// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "tp/tp_context.h"

#include <map>

#include "base/check.h"
#include "base/log.h"
#include "device/device.h"
#include "torch_glue/torch_streams.h"

namespace pinnedpg::tp {

namespace {

constexpr const char* kMake = "make_tp_context";
constexpr uint64_t kFirstHandle = 0x7470'0000'0001;

struct Contexts {
  std::mutex mutex;
  std::map<uint64_t, std::shared_ptr<TpContext>> by_handle;
  uint64_t next = kFirstHandle;
};

Contexts& contexts() {
  static Contexts& instance = *new Contexts;  // never destroyed: work may be in flight when static destructors run
  return instance;
}

std::vector<Region> regions_of(const TensorList& buffers) {
  std::vector<Region> regions;
  for (size_t i = 0; i < buffers.size(); ++i) {
    const Argument argument{kMake, "pinned_temp", static_cast<int64_t>(i)};
    PINNEDPG_CHECK(buffers[i].defined(), argument, " must be a tensor; got None");
    PINNEDPG_CHECK(buffers[i].device().is_cpu() && buffers[i].layout() == at::kStrided, argument,
                   " must be a dense CPU tensor; got one on ", buffers[i].device(), " with layout ",
                   buffers[i].layout());
    PINNEDPG_CHECK(buffers[i].is_contiguous(), argument, " must be contiguous; got strides ", buffers[i].strides());
    regions.push_back(Region::flat(buffers[i].data_ptr(), static_cast<size_t>(buffers[i].nbytes())));
    for (size_t j = 0; j < i; ++j) {
      PINNEDPG_CHECK(!overlap(regions[i], regions[j]), argument, " must not share memory with pinned_temp[", j, "]");
    }
  }
  return regions;
}

std::shared_ptr<GpuLane> lane_of(const Argument& argument, int device, uint64_t stream) {
  PINNEDPG_CHECK(may_use_gpus() && is_stream_of(device, stream), argument,
                 " must be 0 or a HostStream that is alive (or, where there is a GPU ", device,
                 ", a CUDA stream of it); got handle ", stream);
  PINNEDPG_CHECK(CudaStream::can_wait(device), argument, " must be of a GPU with stream memory operations; GPU ",
                 device, " has none");
  return std::make_shared<GpuLane>(device, reinterpret_cast<void*>(stream));
}

Issuer::Devices devices_of(const std::vector<uint64_t>& streams) {
  Issuer::Devices devices;
  for (size_t i = 0; i < streams.size(); ++i) {
    if (streams[i] == 0) continue;
    const Argument argument{kMake, "streams", static_cast<int64_t>(i)};
    const int device = static_cast<int>(i);
    auto queue = HostQueue::find(streams[i]);
    const bool on_gpu = queue == nullptr;
    if (on_gpu) {
      devices.lanes[device] = lane_of(argument, device, streams[i]);
      queue = HostQueue::beside(device, streams[i]);
    }
    PINNEDPG_CHECK(queue->device() == device, argument, " must be a stream of device ", device, "; got one of device ",
                   queue->device());
    devices.queues[device] = std::move(queue);
    PINNEDPG_CHECK(devices.lanes.empty() || devices.lanes.size() == devices.queues.size(), argument,
                   " must be of the same kind as those before it, all of host devices or all of GPUs; got one of a ",
                   on_gpu ? "GPU" : "host device");
  }
  PINNEDPG_CHECK(!devices.queues.empty(), kMake, ": streams must have a stream for at least one device; got none");
  return devices;
}

void check_splits(const Splits& splits, const Issuer& issuer) {
  constexpr const char* arguments[kSplitTypes] = {"kv_split", "id_split", "vc_split", "rs_split", "q_split"};
  for (size_t type = 0; type < kSplitTypes; ++type) {
    check_shares(splits[type], arguments[type]);
    for (size_t i = 0; i < splits[type].size(); ++i) {
      PINNEDPG_CHECK(issuer.has(splits[type][i].device), Argument{kMake, arguments[type], static_cast<int64_t>(i)},
                     " must name a device with a stream, one of ", Listed{issuer.devices()}, "; got device ",
                     splits[type][i].device);
    }
  }
}

/// Pinned by their owner alone: whole pages would be, with what lies beside a buffer on them.
void check_pinned(const std::vector<Region>& buffers) {
  for (size_t i = 0; i < buffers.size(); ++i) {
    const Region& buffer = buffers[i];
    PINNEDPG_CHECK(buffer.bytes() == 0 || (is_pinned(buffer.data) && is_pinned(buffer.data + buffer.bytes() - 1)),
                   Argument{kMake, "pinned_temp", static_cast<int64_t>(i)},
                   " must be pinned memory, for GPUs; got a pageable tensor of ", buffer.bytes(),
                   " bytes. Make it with pin_memory=True");
  }
}

/// The devices of every call by legs: those of a split, or of two.
std::vector<std::vector<int>> sets_of(const Splits& splits) {
  std::vector<std::vector<int>> sets;
  for (const Split& one : splits) {
    for (const Split& other : splits) {
      Split both = one;
      both.insert(both.end(), other.begin(), other.end());
      if (!one.empty()) sets.push_back(devices_of(both));
    }
  }
  return sets;
}

}  // namespace

TpContext::TpContext(Settings settings)
    : splits_(std::move(settings.splits)),
      buffers_(regions_of(settings.buffers)),
      issuer_(devices_of(settings.streams), std::move(settings.buffers), settings.timeout) {
  PINNEDPG_CHECK(settings.timeout.count() > 0, kMake, ": timeout must be more than 0 seconds; got ",
                 settings.timeout.count() / 1000.0);
  check_splits(splits_, issuer_);
  if (issuer_.on_gpus()) check_pinned(buffers_);
  try {
    issuer_.make_team(issuer_.devices());
    for (const auto& devices : sets_of(splits_)) issuer_.make_team(devices);
  } catch (const SystemError& error) {
    throw SystemError(concat(kMake, ": the stage must be memory that the GPUs can use: ", error.what()));
  }
  issuer_.set_multithreaded(settings.multithreaded);
}

std::vector<int> TpContext::places(const std::vector<int>& devices) const {
  return issuer_.on_gpus() ? devices : std::vector<int>(devices.size(), kOnHost);
}

std::vector<int> TpContext::places(const Split& shares) const {
  std::vector<int> devices;
  for (const Share& share : shares) devices.push_back(share.device);
  return places(devices);
}

uint64_t TpContext::make(Settings settings) {
  auto context = std::make_shared<TpContext>(std::move(settings));
  std::lock_guard lock(contexts().mutex);
  const uint64_t handle = contexts().next++;
  PINNEDPG_LOG(kInfo, kTp, "tp_context ", handle, " of devices ", Listed{context->issuer_.devices()}, " with ",
               context->buffers_.size(), " buffers");
  contexts().by_handle[handle] = std::move(context);
  return handle;
}

std::shared_ptr<TpContext> TpContext::find(const char* function, uint64_t handle) {
  std::lock_guard lock(contexts().mutex);
  const auto found = contexts().by_handle.find(handle);
  if (found != contexts().by_handle.end()) return found->second;
  const bool freed = handle >= kFirstHandle && handle < contexts().next;
  throw ValueError(concat(function, ": tp_context must be a handle from make_tp_context; got ", handle,
                          freed ? ", which was freed" : ""));
}

void TpContext::free(uint64_t handle) {
  std::shared_ptr<TpContext> context;
  {
    std::lock_guard lock(contexts().mutex);
    auto taken = contexts().by_handle.extract(handle);
    if (!taken.empty()) context = std::move(taken.mapped());
    PINNEDPG_CHECK(context != nullptr || (handle >= kFirstHandle && handle < contexts().next),
                   "free_tp_context: tp_context must be a handle from make_tp_context; got ", handle);
  }
  if (context != nullptr) context->issuer_.close();
}

void TpContext::abandon_all(const std::string& reason) {
  std::lock_guard lock(contexts().mutex);
  for (const auto& [handle, context] : contexts().by_handle) context->issuer_.abandon(reason);
}

void TpContext::synchronize(int buffer, const Patience& patience) {
  if (buffer != -1) check_buffer("tp_synchronize", buffer);
  issuer_.synchronize(buffer, patience);
}

}  // namespace pinnedpg::tp
