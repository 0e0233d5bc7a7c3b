// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The pinnedpg authors
#include "memory/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <sstream>

#include "base/check.h"

namespace pinnedpg {

namespace {

/// The segments that this process has mapped, so that its ranks (threads) share one mapping: a race detector, and a
/// GPU's page registration, go by address.
struct Mapped {
  std::mutex mutex;
  std::map<uint64_t, std::weak_ptr<Segment>> by_id;
};

Mapped& mapped() {
  static Mapped& instance = *new Mapped;  // never destroyed: ranks may outlive the static destructors
  return instance;
}

uint64_t random_id() {
  uint64_t id = 0;
  SYS_CHECK(getrandom, ::getrandom(&id, sizeof id, 0), "segment: cannot draw a random id");
  return id;
}

}  // namespace

std::string Segment::Handle::to_string() const { return concat(fd, ' ', id, ' ', bytes, ' ', creator.to_string()); }

Segment::Handle Segment::Handle::parse(const std::string& text) {
  Handle handle;
  std::istringstream in(text);
  std::string creator;
  in >> handle.fd >> handle.id >> handle.bytes >> std::ws;
  std::getline(in, creator);
  handle.creator = ProcessId::parse(creator);
  return handle;
}

std::shared_ptr<Segment> Segment::create(size_t bytes) {
  const uint64_t id = random_id();
  // The id is in the memfd's name as well, where /proc shows it: that is how `open` knows that it got the right file.
  const int fd = SYS_CHECK(memfd_create, ::memfd_create(concat("pinnedpg-", id).c_str(), MFD_CLOEXEC),
                           "segment: cannot create shared memory");
  std::shared_ptr<Segment> segment(new Segment(fd, {ProcessId::self(), fd, id, bytes}));
  SYS_CHECK(ftruncate, ::ftruncate(fd, static_cast<off_t>(bytes)), concat("segment: cannot size ", bytes, " bytes"));
  segment->map();
  std::lock_guard lock(mapped().mutex);
  mapped().by_id[id] = segment;
  return segment;
}

std::shared_ptr<Segment> Segment::open(const Handle& handle) {
  std::shared_ptr<Segment> segment;  // let go of only without the lock, which its destructor takes
  std::lock_guard lock(mapped().mutex);
  const auto known = mapped().by_id.find(handle.id);
  if (known != mapped().by_id.end()) segment = known->second.lock();
  if (segment) return segment;
  const int fd = open_file(handle);
  if (fd < 0) return nullptr;
  segment.reset(new Segment(fd, handle));
  segment->map();
  mapped().by_id[handle.id] = segment;
  return segment;
}

int Segment::open_file(const Handle& handle) {
  const ProcessId self = ProcessId::self();
  PINNEDPG_CHECK(handle.creator.boot == self.boot,
                 "init: all ranks of a pinned group must run on one machine; got a rank on another one");
  PINNEDPG_CHECK(
      handle.creator.pid_namespace == self.pid_namespace,
      "init: all ranks of a pinned group must see each other's processes; got another pid namespace. Run the "
      "containers with one pid namespace (docker run --pid=...)");
  const std::string path = concat("/proc/", handle.creator.pid, "/fd/", handle.fd);
  char target[128] = {};
  const std::string name = concat("pinnedpg-", handle.id, " ");  // before "(deleted)"
  const char* remedy = "segment: a rank of this user must be let to open the first rank's memory";
  if (::readlink(path.c_str(), target, sizeof target - 1) < 0) {
    if (errno != ENOENT) throw_system_error("readlink", remedy);
    return -1;
  }
  if (!std::strstr(target, name.c_str())) return -1;
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0 && errno != ENOENT) throw_system_error("open", remedy);
  return fd;
}

Segment::Segment(int fd, Handle handle) : handle_(handle), fd_(fd) {}

void Segment::map() {
  void* const data = ::mmap(nullptr, handle_.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  if (data == MAP_FAILED) throw_system_error("mmap", concat("segment: cannot map ", handle_.bytes, " bytes"));
  data_ = static_cast<std::byte*>(data);
}

Segment::~Segment() {
  {
    std::lock_guard lock(mapped().mutex);
    const auto known = mapped().by_id.find(handle_.id);
    if (known != mapped().by_id.end() && known->second.expired()) mapped().by_id.erase(known);
  }
  if (data_ != nullptr) ::munmap(data_, handle_.bytes);
  seal();
}

void Segment::reserve(size_t begin, size_t bytes) {
  constexpr size_t kPage = 4096;
  // A signal (a profiler's timer) interrupts fallocate on a kernel before 6.12, which then undoes what it has done: in
  // pieces, each short beside the time between two signals, it gets through.
  constexpr size_t kPiece = 1 << 20;
  const size_t first = begin / kPage * kPage;
  const size_t end = std::min((begin + bytes + kPage - 1) / kPage * kPage, handle_.bytes);
  for (size_t at = first; at < end; at += kPiece) {
    const size_t piece = std::min(kPiece, end - at);
    SYS_CHECK(
        fallocate, TEMP_FAILURE_RETRY(::fallocate(fd_, 0, static_cast<off_t>(at), static_cast<off_t>(piece))),
        concat("segment: cannot reserve ", end - first, " bytes of host memory. Lower slot_bytes or depth in Options"));
  }
}

void Segment::seal() {
  // Once only, also when ranks that are threads of one process all call it: the number may be another file's by then.
  const int fd = fd_.exchange(-1);
  if (fd >= 0) ::close(fd);
}

}  // namespace pinnedpg
