// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <mutex>
#include <numeric>
#include <vector>

namespace wq {

/// Processors this process may use: its affinity mask, cut to the quota of its control group.
int usable_processors();

/// Call `task(i, worker)` for i in [0, tasks), on up to `threads` threads, the caller among them; `worker` is below
/// `threads` and no two concurrent calls share one. Runs on the caller alone when that is all there is to gain: inside
/// a task, or while another thread's call has the pool. The first exception a task throws is rethrown here, after
/// all tasks under way have ended; no new ones are started.
///
/// The pool starts with the first call that needs it, and afresh in a forked child.
void parallel_for(int threads, std::int64_t tasks, const std::function<void(std::int64_t task, int worker)>& task);

/// Asked now and then by the thread that called `parallel_for`, between its tasks; true stops the run with
/// `Interrupted`. Set once, by whoever owns signals.
void set_interrupt_check(bool (*check)());

/// Throws `Interrupted` if that says so.
void check_interrupt();

/// Take `mutex`, which must never be destroyed, while the process forks: the child would otherwise inherit it locked by
/// a thread that the child does not have.
void hold_during_fork(std::mutex& mutex);

/// The one T of the process. It is never destroyed, because arrays and worker threads may outlive every static object,
/// and its `mutex` is held during forks.
template <class T>
T& immortal() {
  static T& instance = []() -> T& {
    auto* made = new T{};
    hold_during_fork(made->mutex);
    return *made;
  }();
  return instance;
}

/// The numbers from 0 to `count` - 1, ordered by bars(i), most first: series that share a kernel's lanes should end at
/// about the same bar.
template <class Bars>
std::vector<std::int64_t> longest_first(std::int64_t count, Bars bars) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return bars(a) > bars(b); });
  return order;
}

/// Memory of the calling thread, at least `bytes`, aligned to a cache line. Valid until its next call; reused.
std::byte* thread_scratch(std::size_t bytes);

}  // namespace wq
