// SPDX-License-Identifier: Apache-2.0
#include "device.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "atc.cuh"
#include "core/kernel.cuh"
#include "core/survey.cuh"
#include "emulator.h"
#include "equity.cuh"
#include "ma.cuh"

namespace wq::emulator {
namespace {

struct Event {
  int device;
  std::uint64_t recorded = 0, come = 0;  // how often
};

/// Something in a stream's queue. It cannot begin before `ready`.
struct Work {
  std::function<bool()> ready;
  std::function<void()> run;
};

struct Stream {
  int device;
  std::deque<Work> queue;
};

struct Block {
  int device;  // -1: pinned host memory
  std::size_t bytes;
};

/// All devices of the process, under one lock.
struct World {
  std::mutex mutex;
  Settings settings;
  Counts counts{};
  std::mt19937_64 random{0};
  std::map<Handle, std::unique_ptr<Stream>> streams;
  std::map<Handle, std::shared_ptr<Event>> events;
  std::map<std::byte*, Block> blocks;
  std::vector<std::int64_t> used = std::vector<std::int64_t>(2, 0);  // bytes, per device
};

World& world() {
  static World* const instance = new World;  // arrays may outlive every static object
  return *instance;
}

thread_local std::string last_message;

Fault fail(Fault fault, std::string message) {
  last_message = std::move(message);
  return fault;
}

/// Every entry goes through here: one lock, and the fault that a test has asked for.
template <class F>
Fault enter(F f) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const std::int64_t call = ++w.counts.calls;
  const Settings& s = w.settings;
  if (s.fail_at > 0 && (s.lasting ? call >= s.fail_at : call == s.fail_at))
    return fail(s.failure, "asked for by a test, at call " + std::to_string(call));
  try {
    return f(w);
  } catch (const Report& report) {
    return fail(Fault::kernel, report.what());
  }
}

bool exists(const World& w, int device) { return device >= 0 && device < w.settings.devices; }

/// The stream behind a handle; null and 1 are the default stream of the device, 2 is that of a thread.
Stream& stream_of(World& w, int device, Handle handle) {
  const auto number = reinterpret_cast<std::uintptr_t>(handle);
  if (number <= 2) handle = reinterpret_cast<Handle>(4 * static_cast<std::uintptr_t>(device) + (number == 2 ? 2 : 1));
  auto& stream = w.streams[handle];
  if (!stream) stream = std::make_unique<Stream>(Stream{device, {}});
  return *stream;
}

/// Do work of all streams, one piece after the other from a stream picked at random, until `done`. False if what is
/// left cannot begin.
bool work_until(World& w, const std::function<bool()>& done) {
  while (!done()) {
    std::vector<Stream*> able;
    for (const auto& [handle, stream] : w.streams)
      if (!stream->queue.empty() && stream->queue.front().ready()) able.push_back(stream.get());
    if (able.empty()) return false;
    Stream& stream = *able[w.settings.schedule_seed == 0 ? 0 : w.random() % able.size()];
    const Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    --w.counts.pending;
    work.run();
  }
  return true;
}

Fault finish(World& w, const Stream& stream) {
  if (work_until(w, [&] { return stream.queue.empty(); })) return Fault::none;
  return fail(Fault::invalid, "a stream waits for an event that never comes");
}

void put(World& w, Stream& stream, std::function<void()> run, std::function<bool()> ready = [] { return true; }) {
  stream.queue.push_back({std::move(ready), std::move(run)});
  ++w.counts.pending;
}

const std::pair<std::byte* const, Block>* block_of(const World& w, const void* p) {
  auto* byte = static_cast<std::byte*>(const_cast<void*>(p));
  auto it = w.blocks.upper_bound(byte);
  if (it == w.blocks.begin()) return nullptr;
  --it;
  return byte < it->first + it->second.bytes ? &*it : nullptr;
}

/// Fresh memory is full of NaN, so that nobody takes it for zeros.
std::byte* new_block(World& w, int device, std::size_t bytes) {
  void* p = nullptr;
  if (::posix_memalign(&p, 256, bytes) != 0) return nullptr;
  std::memset(p, 0xff, bytes);
  auto* data = static_cast<std::byte*>(p);
  w.blocks[data] = {device, bytes};
  return data;
}

void free_block(World& w, std::byte* data) {
  w.blocks.erase(data);
  std::free(data);
}

// ------------------------------------------------------------------------------------------------ the table

void status(BackendStatus* out) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  *out = {};
  out->driver_version = out->runtime_version = 13000;
  out->device_count = w.settings.devices;
}

void device(int index, int, DeviceInfo* out) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  *out = {};
  std::snprintf(out->name, sizeof out->name, "emulated device %d", index);
  std::snprintf(out->uuid, sizeof out->uuid, "EMU-%d", index);
  out->major = 7;
  out->minor = 5;
  out->multiprocessors = 2;
  out->memory_total = w.settings.memory;
  out->memory_free = w.settings.memory - (exists(w, index) ? w.used[index] : 0);
  out->runs_kernels = 1;
}

const char* message() { return last_message.c_str(); }

Fault take(int index, std::size_t bytes, void** out) {
  return enter([&](World& w) {
    if (!exists(w, index)) return fail(Fault::unavailable, "no such device");
    if (static_cast<std::int64_t>(bytes) > w.settings.memory - w.used[index])
      return fail(Fault::out_of_memory, std::to_string(w.settings.memory - w.used[index]) + " are free");
    *out = new_block(w, index, bytes);
    if (*out == nullptr) return fail(Fault::out_of_memory, "the host has no memory");
    w.used[index] += static_cast<std::int64_t>(bytes);
    w.counts.memory_used += static_cast<std::int64_t>(bytes);
    w.counts.memory_peak = std::max(w.counts.memory_peak, w.counts.memory_used);
    ++w.counts.allocations;
    return Fault::none;
  });
}

template <class Free>
Fault give_back(int index, void* data, Free free) {
  return enter([&](World& w) {
    auto* block = static_cast<std::byte*>(data);
    if (!w.blocks.contains(block) || w.blocks[block].device != index) return fail(Fault::invalid, "no such block");
    const auto bytes = static_cast<std::int64_t>(w.blocks[block].bytes);
    w.used[index] -= bytes;
    w.counts.memory_used -= bytes;
    --w.counts.allocations;
    free(w, block);
    return Fault::none;
  });
}

Fault allocate(int index, std::size_t bytes, Handle, void** out) { return take(index, bytes, out); }

/// Freed when the stream comes to it; what works on it then, in another stream, is wrong.
Fault release(int index, void* data, Handle handle) {
  return give_back(index, data, [&](World& w, std::byte* block) {
    put(w, stream_of(w, index, handle), [&w, block] { free_block(w, block); });
  });
}

Fault allocate_direct(int index, std::size_t bytes, int, void** out) { return take(index, bytes, out); }

/// Freed at once; what still works on it is wrong.
Fault release_direct(int index, void* data) { return give_back(index, data, free_block); }

Fault memory(int index, std::int64_t* free, std::int64_t* total) {
  return enter([&](World& w) {
    if (!exists(w, index)) return fail(Fault::unavailable, "no such device");
    *total = w.settings.memory;
    *free = w.settings.memory - w.used[index];
    return Fault::none;
  });
}

Fault trim(int) {
  return enter([](World&) { return Fault::none; });
}

Fault allocate_pinned(int, std::size_t bytes, void** out) {
  return enter([&](World& w) {
    *out = new_block(w, -1, bytes);
    if (*out == nullptr) return fail(Fault::out_of_memory, "the host has no memory");
    w.counts.pinned_used += static_cast<std::int64_t>(bytes);
    return Fault::none;
  });
}

Fault release_pinned(int, void* data) {
  return enter([&](World& w) {
    auto* block = static_cast<std::byte*>(data);
    if (!w.blocks.contains(block) || w.blocks[block].device != -1) return fail(Fault::invalid, "no such block");
    w.counts.pinned_used -= static_cast<std::int64_t>(w.blocks[block].bytes);
    free_block(w, block);
    return Fault::none;
  });
}

Fault pinned(int, const void* data, int* out) {
  return enter([&](World& w) {
    *out = block_of(w, data) != nullptr;
    return Fault::none;
  });
}

Fault copy(int index, void* to, const void* from, std::size_t bytes, Handle handle) {
  return enter([&](World& w) {
    Stream& stream = stream_of(w, index, handle);
    if (block_of(w, from) == nullptr) {
      // The caller may change pageable memory once the call is back.
      std::vector<std::byte> taken(static_cast<const std::byte*>(from), static_cast<const std::byte*>(from) + bytes);
      put(w, stream, [to, taken = std::move(taken)] { std::memcpy(to, taken.data(), taken.size()); });
    } else {
      put(w, stream, [to, from, bytes] { std::memcpy(to, from, bytes); });
    }
    return block_of(w, to) == nullptr ? finish(w, stream) : Fault::none;
  });
}

Fault copy_across(int index, void* to, int, const void* from, std::size_t bytes, Handle handle) {
  return copy(index, to, from, bytes, handle);
}

Fault fill(int index, void* to, int byte, std::size_t bytes, Handle handle) {
  return enter([&](World& w) {
    put(w, stream_of(w, index, handle), [to, byte, bytes] { std::memset(to, byte, bytes); });
    return Fault::none;
  });
}

Fault create_stream(int index, Handle* out) {
  return enter([&](World& w) {
    if (!exists(w, index)) return fail(Fault::unavailable, "no such device");
    auto stream = std::make_unique<Stream>(Stream{index, {}});
    *out = stream.get();
    w.streams[*out] = std::move(stream);
    ++w.counts.streams;
    return Fault::none;
  });
}

/// What is in its queue is still done, as on a device.
Fault destroy_stream(int, Handle handle) {
  return enter([&](World& w) {
    const auto it = w.streams.find(handle);
    if (it == w.streams.end()) return fail(Fault::invalid, "no such stream");
    const Fault fault = finish(w, *it->second);
    w.streams.erase(it);
    --w.counts.streams;
    return fault;
  });
}

Fault synchronize(int index, Handle handle) {
  return enter([&](World& w) { return finish(w, stream_of(w, index, handle)); });
}

Fault create_event(int index, Handle* out) {
  return enter([&](World& w) {
    auto event = std::make_shared<Event>(Event{index});
    *out = event.get();
    w.events[*out] = std::move(event);
    ++w.counts.events;
    return Fault::none;
  });
}

Fault destroy_event(int, Handle handle) {
  return enter([&](World& w) {
    const auto it = w.events.find(handle);
    if (it == w.events.end()) return fail(Fault::invalid, "no such event");
    w.events.erase(it);  // what waits for it goes on waiting
    --w.counts.events;
    return Fault::none;
  });
}

Fault record(int index, Handle event, Handle handle) {
  return enter([&](World& w) {
    if (!w.events.contains(event)) return fail(Fault::invalid, "no such event");
    const std::shared_ptr<Event> e = w.events[event];
    const std::uint64_t number = ++e->recorded;
    put(w, stream_of(w, index, handle), [e, number] { e->come = std::max(e->come, number); });
    return Fault::none;
  });
}

Fault wait(int index, Handle handle, Handle event) {
  return enter([&](World& w) {
    if (!w.events.contains(event)) return fail(Fault::invalid, "no such event");
    const std::shared_ptr<Event> e = w.events[event];
    put(w, stream_of(w, index, handle), [] {}, [e, number = e->recorded] { return e->come >= number; });
    return Fault::none;
  });
}

Fault capturing(int, Handle, int* out) {
  return enter([&](World& w) {
    *out = w.settings.capturing;
    return Fault::none;
  });
}

}  // namespace

void configure(const Settings& settings) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  work_until(w, [&] { return w.counts.pending == 0; });
  w.settings = settings;
  w.random.seed(settings.schedule_seed);
  w.used.resize(std::max(w.used.size(), static_cast<std::size_t>(settings.devices)), 0);
  w.counts.calls = w.counts.launches = 0;
  w.counts.memory_peak = w.counts.memory_used;
}

void forget() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  work_until(w, [&] { return w.counts.pending == 0; });
  while (!w.blocks.empty()) free_block(w, w.blocks.begin()->first);
  w.streams.clear();
  w.events.clear();
  std::fill(w.used.begin(), w.used.end(), 0);
  w.counts = {};
}

Counts counts() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return w.counts;
}

const BackendTable table = {
    "emulator",
    status,
    device,
    message,
    allocate,
    release,
    trim,
    allocate_pinned,
    release_pinned,
    allocate_direct,
    release_direct,
    memory,
    pinned,
    copy,
    copy_across,
    fill,
    create_stream,
    destroy_stream,
    synchronize,
    create_event,
    destroy_event,
    record,
    wait,
    capturing,
    [](int device, const Series* series, std::int64_t count, DType type, int* flags, Handle stream) {
      return cuda::survey_on(series, count, type, flags, {device, stream});
    },
    [](int device, const ma::Launch& launch, Handle stream) { return ma::launch_on(launch, {device, stream}); },
    [](int device, const equity::Launch& launch, Handle stream) { return equity::launch_on(launch, {device, stream}); },
    [](int device, const atc::Launch& launch, Handle stream) { return atc::launch_on(launch, {device, stream}); },
    [](int, const atc::Run& run) { return atc::scratch_on(run, kMostShared); },
};

}  // namespace wq::emulator

namespace wq::cuda {

Fault enqueue(Queue queue, void (*run)(const void*), const void* closure, std::size_t bytes) {
  using namespace emulator;
  return enter([&](World& w) {
    std::vector<std::byte> copy(static_cast<const std::byte*>(closure), static_cast<const std::byte*>(closure) + bytes);
    put(w, stream_of(w, queue.device, queue.stream), [run, copy = std::move(copy), &w] {
      ++w.counts.launches;
      run(copy.data());
    });
    return Fault::none;
  });
}

}  // namespace wq::cuda
