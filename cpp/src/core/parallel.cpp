// SPDX-License-Identifier: Apache-2.0
#include "warpquant/core/parallel.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include "warpquant/core/error.h"

namespace wq {
namespace {

using Task = std::function<void(std::int64_t, int)>;
using Clock = std::chrono::steady_clock;

constexpr auto kInterruptPeriod = std::chrono::milliseconds(50);

std::atomic<bool (*)()> interrupt_check{nullptr};
thread_local bool inside_task = false;

/// One call of `parallel_for`.
struct Run {
  const Task& task;
  const std::int64_t tasks;
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> stopped{false};
  std::mutex mutex;
  std::exception_ptr error;

  void work(int worker, bool caller) {
    auto asked = Clock::now();
    for (std::int64_t i; !stopped.load(std::memory_order_relaxed) && (i = next.fetch_add(1)) < tasks;) {
      try {
        inside_task = true;
        task(i, worker);
        inside_task = false;
        if (caller) ask(asked);
      } catch (...) {
        inside_task = false;
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        stopped = true;
      }
    }
  }

  void ask(Clock::time_point& asked) {
    if (Clock::now() - asked < kInterruptPeriod) return;
    check_interrupt();
    asked = Clock::now();
  }
};

class Pool {
 public:
  /// False if another thread's run has the pool.
  bool run(Run& run, int threads) {
    const std::unique_lock owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    grow(threads - 1);
    {
      const std::lock_guard lock(mutex_);
      run_ = &run;
      wanted_ = threads - 1;
      joined_ = 0;
      ++generation_;
    }
    wake_.notify_all();
    run.work(0, true);
    std::unique_lock lock(mutex_);
    wanted_ = joined_;  // nobody joins from here on
    auto asked = Clock::now();
    while (working_ > 0) {
      if (idle_.wait_for(lock, kInterruptPeriod) != std::cv_status::timeout) continue;
      lock.unlock();
      try {
        if (!run.stopped) run.ask(asked);
      } catch (...) {
        const std::lock_guard error_lock(run.mutex);
        if (!run.error) run.error = std::current_exception();
        run.stopped = true;
      }
      lock.lock();
    }
    run_ = nullptr;
    return true;
  }

 private:
  void grow(int workers) {
    try {
      for (; workers_ < workers; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      // The machine gives no more threads; those there are do the work.
    }
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (std::uint64_t seen = 0;;) {
      wake_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      if (run_ == nullptr || joined_ >= wanted_) continue;
      const int worker = ++joined_;
      ++working_;
      Run& run = *run_;
      lock.unlock();
      run.work(worker, false);
      lock.lock();
      if (--working_ == 0) idle_.notify_all();
    }
  }

  std::mutex owner_;  // held for the length of a run
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_, idle_;
  Run* run_ = nullptr;
  int workers_ = 0, wanted_ = 0, joined_ = 0, working_ = 0;
  std::uint64_t generation_ = 0;
};

/// Never destroyed: its threads may outlive every static object. A forked child has the pool but not its threads, so
/// it gets a new one.
std::atomic<Pool*> pool_instance{nullptr};

Pool& pool() {
  Pool* current = pool_instance.load();
  if (current == nullptr) {
#if defined(__linux__)
    static const int registered = pthread_atfork(nullptr, nullptr, [] { pool_instance = nullptr; });
    (void)registered;
#endif
    auto made = std::make_unique<Pool>();
    if (pool_instance.compare_exchange_strong(current, made.get())) current = made.release();
  }
  return *current;
}

/// CPU time per period that the control group of this process allows, in processors; a large number if unlimited.
double group_quota() {
  const auto read = [](const std::string& path) {
    std::ifstream file(path);
    std::string quota, period;
    file >> quota >> period;
    return std::pair(quota, period);
  };
  double limit = 1e9;
  const auto apply = [&](const std::string& quota, const std::string& period) {
    const double q = std::strtod(quota.c_str(), nullptr), p = std::strtod(period.c_str(), nullptr);
    if (q > 0 && p > 0) limit = q / p < limit ? q / p : limit;  // "max" and -1 mean no limit
  };
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const auto path = line.substr(line.rfind(':') + 1);
    if (line.rfind("0::", 0) == 0) {
      const auto [quota, period] = read("/sys/fs/cgroup" + path + "/cpu.max");
      apply(quota, period);
    } else if (line.find(":cpu,") != std::string::npos || line.find(",cpu:") != std::string::npos) {
      apply(read("/sys/fs/cgroup/cpu" + path + "/cpu.cfs_quota_us").first,
            read("/sys/fs/cgroup/cpu" + path + "/cpu.cfs_period_us").first);
    }
  }
  const auto [quota, period] = read("/sys/fs/cgroup/cpu.max");  // as a container sees its own group
  apply(quota, period);
  return limit;
}

struct Scratch {
  std::byte* data = nullptr;
  std::size_t size = 0;
  ~Scratch() { std::free(data); }
};
thread_local Scratch scratch;

}  // namespace

void hold_during_fork(std::mutex& mutex) {
#if defined(__linux__)
  static std::mutex list_mutex;
  static std::vector<std::mutex*>& list = *new std::vector<std::mutex*>;
  const std::lock_guard lock(list_mutex);
  list.push_back(&mutex);
  if (list.size() > 1) return;
  const auto release = [] {
    for (std::mutex* m : list) m->unlock();
  };
  pthread_atfork(
      [] {
        for (std::mutex* m : list) m->lock();
      },
      release, release);
#else
  (void)mutex;
#endif
}

int usable_processors() {
  static const double quota = group_quota();
  int processors = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) processors = CPU_COUNT(&mask);
#endif
  if (quota < processors) processors = static_cast<int>(quota + 0.999);
  return processors < 1 ? 1 : processors;
}

void parallel_for(int threads, std::int64_t tasks, const Task& task) {
  if (tasks > 1 && threads <= 0) threads = usable_processors();  // asks the system
  if (tasks <= 1 || tasks < threads) threads = static_cast<int>(tasks);
  Run run{.task = task, .tasks = tasks, .mutex = {}, .error = nullptr};
  if (threads <= 1 || inside_task || !pool().run(run, threads)) {
    const bool nested = inside_task;
    run.work(0, !nested);
    inside_task = nested;
  }
  if (run.error) std::rethrow_exception(run.error);
}

void set_interrupt_check(bool (*check)()) { interrupt_check = check; }

void check_interrupt() {
  const auto check = interrupt_check.load();
  if (check != nullptr && check()) throw Interrupted();
}

std::byte* thread_scratch(std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  constexpr std::size_t kKept = std::size_t{64} << 20;  // windows of millions of bars take more, but seldom twice
  if (bytes > scratch.size || (scratch.size > kKept && bytes <= kKept)) {
    const std::size_t size = (bytes + kLine - 1) / kLine * kLine;
    std::free(scratch.data);
    scratch.size = 0;
    scratch.data = static_cast<std::byte*>(std::aligned_alloc(kLine, size));
    if (scratch.data == nullptr) throw std::bad_alloc();
    scratch.size = size;
  }
  return scratch.data;
}

}  // namespace wq
