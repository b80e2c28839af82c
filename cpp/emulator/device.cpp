// SPDX-License-Identifier: Apache-2.0
#include "device.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "atc.cuh"
#include "atc_stream.cuh"
#include "core/kernel.cuh"
#include "core/survey.cuh"
#include "emulator.h"
#include "equity.cuh"
#include "ma.cuh"
#include "optim.cuh"
#include "options.cuh"
#include "paths.cuh"
#include "pinn.cuh"
#include "scenario.cuh"
#include "signals.cuh"
#include "surface.cuh"

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
  int priority = 0;
  std::deque<Work> queue = {};
  bool destroyed = false;  // goes with the last of its work
  bool captured = false;
  std::vector<Work> graph = {};  // what was put into it meanwhile
};

using Clock = std::chrono::steady_clock;

struct Block {
  int device;  // -1: pinned host memory
  std::size_t bytes;
};

/// All devices of the process, under one lock.
struct World {
  std::mutex mutex;
  Settings settings;
  Counts counts{};
  std::map<std::string, std::int64_t> calls;
  std::int64_t done = 0;  // pieces of work since the last settings
  Clock::time_point busy_until;
  std::vector<std::vector<Work>> graphs;
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
Fault enter(F f, const char* entry = __builtin_FUNCTION()) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const std::int64_t call = ++w.counts.calls;
  ++w.calls[entry];
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
  if (!stream) stream = std::make_unique<Stream>(Stream{device});
  return *stream;
}

/// How work for which somebody waits has come along.
enum class Progress { done, later, never };

bool is_stuck(const World& w) { return w.settings.stuck_after >= 0 && w.done >= w.settings.stuck_after; }

/// Do work of all streams, one piece after the other from a stream picked at random, until `done`, or for as long as
/// the device works.
Progress work_until(World& w, const std::function<bool()>& done) {
  while (!done()) {
    std::vector<Handle> able;
    for (const auto& [handle, stream] : w.streams)
      if (!stream->queue.empty() && stream->queue.front().ready()) able.push_back(handle);
    if (able.empty()) return Progress::never;
    if (is_stuck(w) || Clock::now() < w.busy_until) return Progress::later;
    const Handle handle = able[w.settings.schedule_seed == 0 ? 0 : w.random() % able.size()];
    Stream& stream = *w.streams[handle];
    const Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    --w.counts.pending;
    ++w.done;
    if (w.settings.pace > 0)
      w.busy_until =
          Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(w.settings.pace));
    work.run();
    if (stream.destroyed && stream.queue.empty()) w.streams.erase(handle);
  }
  return Progress::done;
}

/// Whether it is done by now; what nobody has made slow or stuck always is.
Fault ask(World& w, const std::function<bool()>& done, int* answer) {
  ++w.counts.waits;
  const Progress progress = work_until(w, done);
  *answer = progress == Progress::done;
  if (progress != Progress::never) return Fault::none;
  return fail(Fault::invalid, "a stream waits for an event that never comes");
}

/// For calls that return once it is done. On a device that is stuck they never would.
Fault finish(World& w, const Stream& stream) {
  for (;;) {
    int done = 0;
    const Fault fault = ask(w, [&] { return stream.queue.empty(); }, &done);
    if (fault != Fault::none || done) return fault;
    if (is_stuck(w)) return fail(Fault::invalid, "the call would never return, because the device is stuck");
    std::this_thread::sleep_until(w.busy_until);
  }
}

Fault put(World& w, Stream& stream, std::function<void()> run, std::function<bool()> ready = [] { return true; }) {
  if (stream.captured) {
    stream.graph.push_back({std::move(ready), std::move(run)});
    return Fault::none;
  }
  stream.queue.push_back({std::move(ready), std::move(run)});
  ++w.counts.pending;
  return Fault::none;
}

Fault refuse_captured(const Stream& stream) {
  return stream.captured ? fail(Fault::capture, "the stream is being captured") : Fault::none;
}

/// Allocation, by whichever thread, is not allowed while anything is captured.
Fault refuse_captures(const World& w) {
  for (const auto& [handle, stream] : w.streams)
    if (stream->captured) return fail(Fault::capture, "a stream is being captured");
  return Fault::none;
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
    if (const Fault fault = refuse_captures(w); fault != Fault::none) return fault;
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
    return free(w, block);
  });
}

Fault allocate(int index, std::size_t bytes, Handle, void** out) { return take(index, bytes, out); }

/// Freed when the stream comes to it; what works on it then, in another stream, is wrong.
Fault release(int index, void* data, Handle handle) {
  return give_back(index, data, [&](World& w, std::byte* block) {
    return put(w, stream_of(w, index, handle), [&w, block] { free_block(w, block); });
  });
}

Fault allocate_direct(int index, std::size_t bytes, int, void** out) { return take(index, bytes, out); }

/// Freed at once; what still works on it is wrong.
Fault release_direct(int index, void* data) {
  return give_back(index, data, [](World& w, std::byte* block) {
    free_block(w, block);
    return Fault::none;
  });
}

Fault memory(int index, std::int64_t* free, std::int64_t* total) {
  return enter([&](World& w) {
    if (!exists(w, index)) return fail(Fault::unavailable, "no such device");
    *total = w.settings.memory;
    *free = w.settings.memory - w.used[index];
    return Fault::none;
  });
}

/// Takes a while, in which streams do what they can.
Fault trim(int) {
  return enter([](World& w) {
    work_until(w, [&] { return w.counts.pending == 0; });
    return Fault::none;
  });
}

Fault allocate_pinned(int, std::size_t bytes, void** out) {
  return enter([&](World& w) {
    if (const Fault fault = refuse_captures(w); fault != Fault::none) return fault;
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
    const auto known = [&w](const void* p) { return block_of(w, p) != nullptr; };
    const bool to_known = known(to);
    if (!to_known)
      if (const Fault fault = refuse_captured(stream); fault != Fault::none) return fault;
    if (!known(from)) {
      // The caller may change pageable memory once the call is back.
      std::vector<std::byte> taken(static_cast<const std::byte*>(from), static_cast<const std::byte*>(from) + bytes);
      put(w, stream, [&w, to, known, taken = std::move(taken)] {
        if (known(to))
          std::memcpy(to, taken.data(), taken.size());
        else
          ++w.counts.strays;
      });
    } else {
      put(w, stream, [&w, to, from, bytes, known, to_known] {
        const bool stray = !known(from) || (to_known && !known(to));
        if (stray)
          ++w.counts.strays;
        else
          std::memcpy(to, from, bytes);
      });
    }
    return to_known ? Fault::none : finish(w, stream);
  });
}

Fault copy_across(int index, void* to, int, const void* from, std::size_t bytes, Handle handle) {
  return copy(index, to, from, bytes, handle);
}

Fault fill(int index, void* to, int byte, std::size_t bytes, Handle handle) {
  return enter([&](World& w) {
    return put(w, stream_of(w, index, handle), [to, byte, bytes] { std::memset(to, byte, bytes); });
  });
}

Fault create_stream(int index, int priority, Handle* out) {
  return enter([&](World& w) {
    if (!exists(w, index)) return fail(Fault::unavailable, "no such device");
    auto stream = std::make_unique<Stream>(Stream{index, priority});
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
    if (it == w.streams.end() || it->second->destroyed) return fail(Fault::invalid, "no such stream");
    it->second->destroyed = true;
    if (it->second->queue.empty()) w.streams.erase(it);
    --w.counts.streams;
    return Fault::none;
  });
}

Fault query(int index, Handle handle, int* done) {
  return enter([&](World& w) {
    const Stream& stream = stream_of(w, index, handle);
    if (const Fault fault = refuse_captured(stream); fault != Fault::none) return fault;
    return ask(w, [&] { return stream.queue.empty(); }, done);
  });
}

/// Without the lock while it lasts: others must be able to go on, and a test to end it.
Fault synchronize(int index) {
  for (;;) {
    int done = 0;
    const Fault fault = enter([&](World& w) {
      if (const Fault refused = refuse_captures(w); refused != Fault::none) return refused;
      const auto idle = [&] {
        return std::all_of(w.streams.begin(), w.streams.end(), [&](const auto& entry) {
          return entry.second->device != index || entry.second->queue.empty();
        });
      };
      return ask(w, idle, &done);
    });
    if (fault != Fault::none || done) return fault;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
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
    if (const Fault fault = refuse_captured(stream_of(w, index, handle)); fault != Fault::none) return fault;
    const std::shared_ptr<Event> e = w.events[event];
    const std::uint64_t number = ++e->recorded;
    return put(w, stream_of(w, index, handle), [e, number] { e->come = std::max(e->come, number); });
  });
}

Fault query_event(int, Handle event, int* come) {
  return enter([&](World& w) {
    if (!w.events.contains(event)) return fail(Fault::invalid, "no such event");
    return ask(w, [e = w.events[event]] { return e->come >= e->recorded; }, come);
  });
}

Fault wait(int index, Handle handle, Handle event) {
  return enter([&](World& w) {
    if (!w.events.contains(event)) return fail(Fault::invalid, "no such event");
    if (const Fault fault = refuse_captured(stream_of(w, index, handle)); fault != Fault::none) return fault;
    const std::shared_ptr<Event> e = w.events[event];
    return put(w, stream_of(w, index, handle), [] {}, [e, number = e->recorded] { return e->come >= number; });
  });
}

Fault capturing(int index, Handle handle, int* out) {
  return enter([&](World& w) {
    *out = stream_of(w, index, handle).captured;
    return Fault::none;
  });
}

}  // namespace

namespace {

/// At once, also on a device that was stuck or slow.
void do_everything(World& w) {
  w.settings.stuck_after = -1;
  w.settings.pace = 0;
  w.busy_until = {};
  work_until(w, [&] { return w.counts.pending == 0; });
}

}  // namespace

void configure(const Settings& settings) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  do_everything(w);
  w.settings = settings;
  w.calls.clear();
  w.done = 0;
  w.random.seed(settings.schedule_seed);
  w.used.resize(std::max(w.used.size(), static_cast<std::size_t>(settings.devices)), 0);
  w.counts.calls = w.counts.launches = w.counts.waits = 0;
  w.counts.memory_peak = w.counts.memory_used;
}

void forget() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  do_everything(w);
  while (!w.blocks.empty()) free_block(w, w.blocks.begin()->first);
  // Threads keep theirs. A handle must never come to mean another stream, so none is freed.
  static auto* const gone = new std::vector<std::unique_ptr<Stream>>;
  for (auto& [handle, stream] : w.streams) gone->push_back(std::move(stream));
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

std::map<std::string, std::int64_t> calls() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return w.calls;
}

std::vector<int> priorities() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  std::vector<int> all;
  for (const auto& [handle, stream] : w.streams) all.push_back(stream->priority);
  return all;
}

void begin_capture(int device, Handle handle) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  stream_of(w, device, handle).captured = true;
}

std::size_t end_capture(int device, Handle handle) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  Stream& stream = stream_of(w, device, handle);
  stream.captured = false;
  w.graphs.push_back(std::exchange(stream.graph, {}));
  return w.graphs.size() - 1;
}

void replay(std::size_t graph, int device, Handle handle) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  for (const Work& work : w.graphs.at(graph)) put(w, stream_of(w, device, handle), work.run, work.ready);
}

const BackendTable table = {
    .name = "emulator",
    .status = status,
    .device = device,
    .message = message,
    .allocate = allocate,
    .release = release,
    .trim = trim,
    .allocate_pinned = allocate_pinned,
    .release_pinned = release_pinned,
    .allocate_direct = allocate_direct,
    .release_direct = release_direct,
    .memory = memory,
    .pinned = pinned,
    .copy = copy,
    .copy_across = copy_across,
    .fill = fill,
    .create_stream = create_stream,
    .destroy_stream = destroy_stream,
    .query = query,
    .synchronize = synchronize,
    .create_event = create_event,
    .destroy_event = destroy_event,
    .record = record,
    .query_event = query_event,
    .wait = wait,
    .capturing = capturing,
    .survey = [](int device, const Series* series, std::int64_t count, DType type, Flaws* flaws,
                 Handle stream) { return cuda::survey_on(series, count, type, flaws, {device, stream}); },
    .ma = [](int device, const ma::Launch& launch, Handle stream) { return ma::launch_on(launch, {device, stream}); },
    .equity = [](int device, const equity::Launch& launch,
                 Handle stream) { return equity::launch_on(launch, {device, stream}); },
    .atc = [](int device, const atc::Launch& launch,
              Handle stream) { return atc::launch_on(launch, {device, stream}); },
    .atc_scratch = [](int, const atc::Run& run) { return atc::scratch_on(run, kMostShared); },
    .atc_stream = [](int device, const atc::StreamLaunch& launch,
                     Handle stream) { return atc::launch_stream_on(launch, {device, stream}); },
    .atc_stream_scratch = atc::stream_scratch_on,
    .signals = [](int device, const signals::Launch& launch,
                  Handle stream) { return signals::launch_on(launch, {device, stream}); },
    .rows = [](int device, const rows::Job& job, Handle stream) { return options::launch_on(job, {device, stream}); },
    .paths = [](int device, const paths::Launch& launch,
                Handle stream) { return paths::launch_on(launch, {device, stream}); },
    .scenario = [](int device, const options::scenario::Launch& launch,
                   Handle stream) { return options::scenario::launch_on(launch, {device, stream}); },
    .optim = [](int device, const optim::Launch& launch,
                Handle stream) { return optim::launch_on(launch, {device, stream}); },
    .pinn = [](int device, const pinn::Launch& launch,
               Handle stream) { return pinn::launch_on(launch, {device, stream}); },
    .surface = [](int device, const surface::Launch& launch,
                  Handle stream) { return surface::launch_on(launch, {device, stream}); },
};

}  // namespace wq::emulator

namespace wq::cuda {

Fault enqueue(Queue queue, void (*run)(const void*), const void* closure, std::size_t bytes) {
  using namespace emulator;
  return enter([&](World& w) {
    std::vector<std::byte> copy(static_cast<const std::byte*>(closure), static_cast<const std::byte*>(closure) + bytes);
    return put(w, stream_of(w, queue.device, queue.stream), [run, copy = std::move(copy), &w] {
      ++w.counts.launches;
      run(copy.data());
    });
  });
}

}  // namespace wq::cuda
