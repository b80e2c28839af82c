// SPDX-License-Identifier: Apache-2.0
// Compiled without -fsanitize=thread: what the scheduler shares with itself must not look like races of a kernel.
#include "emulator.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __sanitizer_start_switch_fiber(void** save, const void* stack, std::size_t size);
extern "C" void __sanitizer_finish_switch_fiber(void* save, const void** stack, std::size_t* size);
#endif
#if defined(WQ_EMULATOR_TSAN)
extern "C" void* __tsan_get_current_fiber();
extern "C" void* __tsan_create_fiber(unsigned flags);
extern "C" void __tsan_destroy_fiber(void* fiber);
extern "C" void __tsan_switch_to_fiber(void* fiber, unsigned flags);
extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);
#else
static void __tsan_acquire(void*) {}
static void __tsan_release(void*) {}
#endif

// Save the registers that a function must keep, go on with another stack.
extern "C" void wq_emulator_switch(void** save, void* to);
#if defined(__x86_64__)
asm(R"(
.text
.type wq_emulator_switch, @function
wq_emulator_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size wq_emulator_switch, . - wq_emulator_switch
)");
constexpr int kReturnAddress = 6, kFrameWords = 7;
#elif defined(__aarch64__)
asm(R"(
.text
.type wq_emulator_switch, %function
wq_emulator_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size wq_emulator_switch, . - wq_emulator_switch
)");
constexpr int kReturnAddress = 11, kFrameWords = 20;
#else
#error "the emulator switches stacks by hand; add this processor"
#endif

namespace wq::emulator {

#if !defined(WQ_EMULATOR_TSAN)
constinit thread_local const Place* running_place = nullptr;
#endif

namespace {

constexpr std::size_t kStackBytes = 128 * 1024;
constexpr unsigned kMostThreads = 1024;
constexpr int kWarp = 32;

class Block;

enum class Doing : std::uint8_t { running, at_barrier, in_warp, returned };

/// One CUDA thread.
struct Fiber {
  Place place;
  Block* block;
  int number;  // within the block
  void* stack_pointer;
  char* stack;
  Doing doing;
  int line;  // where it waits
  WarpOp op;
  unsigned mask;
  int source;
  std::uint64_t value, result;
  void* asan_stack;
  void* tsan_fiber;
};

thread_local Fiber* current = nullptr;

#if defined(WQ_EMULATOR_TSAN)
/// Addresses that no other block of the same launch has, or accesses of one would seem to race with those of another.
/// By a system call, and without a lock: TSan would take either for something that the kernel does.
constexpr std::size_t kArena = std::size_t{16} << 30;
std::atomic<std::size_t> arena_used{0};

char* new_shared(std::size_t bytes) {
  static char* const arena = reinterpret_cast<char*>(
      ::syscall(SYS_mmap, nullptr, kArena, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  const std::size_t at = arena_used.fetch_add((bytes + 63) / 64 * 64);
  if (arena == MAP_FAILED || at + bytes > kArena) std::abort();
  for (std::size_t i = 0; i < bytes; ++i) static_cast<volatile char*>(arena)[at + i] = static_cast<char>(0xff);
  return arena + at;
}
void free_shared(char*) {}
#else
/// Of exactly that size, so that ASan sees the first byte behind it.
char* new_shared(std::size_t bytes) {
  void* p = nullptr;
  if (::posix_memalign(&p, 64, bytes) != 0) std::abort();
  std::memset(p, 0xff, bytes);
  return static_cast<char*>(p);
}
void free_shared(char* p) { std::free(p); }
#endif

std::string at_line(int line) { return " at line " + std::to_string(line); }

char grid_end;  // what TSan orders the end of a grid by

/// One block on its way, with the fibers of a worker, which the next block uses again.
class Block {
 public:
  ~Block() {
    if (stacks_ != nullptr) ::munmap(stacks_, capacity_ * kStackBytes);
  }

  /// Returns what a thread did wrong, or "".
  std::string run(const Place& place, std::size_t shared_bytes, Body body, const void* context, std::uint64_t seed) {
    body_ = body;
    context_ = context;
    report_.clear();
    returned_ = waiting_ = 0;
    prepare(place, shared_bytes);
    std::vector<int> order(fibers_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
    std::mt19937_64 random(seed);
    while (returned_ < size() && report_.empty()) {
      if (seed != 0)
        for (std::size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[random() % (i + 1)]);
      bool progress = false;
      for (const int i : order) {
        if (fibers_[i].doing != Doing::running) continue;
        progress = true;
        enter(fibers_[i]);
        if (!report_.empty()) break;
      }
      if (report_.empty() && !release_barrier() && !progress) report_deadlock();
    }
    clean_up();
    return report_;
  }

  void fail(const std::string& what) {
    if (report_.empty()) report_ = what;
  }

  // -------------------------------------------------------------- called by the running fiber

  void wait_at_barrier(int line) {
    Fiber& self = *current;
    self.doing = Doing::at_barrier;
    self.line = line;
    ++waiting_;
    __tsan_release(this);
    leave(self);
    __tsan_acquire(this);
  }

  std::uint64_t warp(WarpOp op, unsigned mask, int source, std::uint64_t value, int line) {
    Fiber& self = *current;
    const int first = self.number / kWarp * kWarp;
    self.doing = Doing::in_warp;
    self.op = op;
    self.mask = mask;
    self.source = source;
    self.value = value;
    self.line = line;
    __tsan_release(&fibers_[first]);
    if ((mask >> (self.number - first) & 1) == 0)
      fail("warp operation" + at_line(line) + ": caller is not in its mask");
    if (!report_.empty() || !complete(first, self)) leave(self);
    __tsan_acquire(&fibers_[first]);
    return self.result;
  }

  void* shared(const void* tag, std::size_t bytes) {
    for (int i = 0; i < pieces_; ++i)
      if (shared_[i].tag == tag) return shared_[i].data;
    used_shared_ += bytes;
    if (used_shared_ > kMostShared)
      fail("shared memory: " + std::to_string(used_shared_) + " bytes; every supported device has " +
           std::to_string(kMostShared));
    if (pieces_ == kMostPieces) std::abort();
    shared_[pieces_] = {tag, new_shared(bytes)};
    return shared_[pieces_++].data;
  }
  void* dynamic_shared() const { return dynamic_; }

  [[noreturn]] static void run_fiber() {
    Fiber& self = *current;
    Block& block = *self.block;
    arrive(self);
    block.body_(block.context_);
    __tsan_release(&grid_end);
    self.doing = Doing::returned;
    ++block.returned_;
    block.leave(self);
    std::abort();  // nobody goes on with a fiber that has returned
  }

 private:
  static constexpr int kMostPieces = 64;
  struct Shared {
    const void* tag;
    char* data;
  };

  int size() const { return static_cast<int>(fibers_.size()); }

  void prepare(const Place& place, std::size_t shared_bytes) {
    const dim3 n = place.block_size;
    const std::size_t threads = std::size_t{n.x} * n.y * n.z;
    if (threads > capacity_) {
      if (stacks_ != nullptr) ::munmap(stacks_, capacity_ * kStackBytes);
      void* p = ::mmap(nullptr, threads * kStackBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (p == MAP_FAILED) throw std::bad_alloc();
      stacks_ = static_cast<char*>(p);
      capacity_ = threads;
    }
    fibers_.assign(threads, Fiber{});
    used_shared_ = shared_bytes;
    dynamic_ = shared_bytes > 0 ? new_shared(shared_bytes) : nullptr;
#if defined(WQ_EMULATOR_TSAN)
    tsan_scheduler_ = __tsan_get_current_fiber();
#endif
    for (std::size_t i = 0; i < threads; ++i) {
      Fiber& f = fibers_[i];
      const auto t = static_cast<unsigned>(i);
      f.place = place;
      f.place.thread = dim3(t % n.x, t / n.x % n.y, t / (n.x * n.y));
      f.block = this;
      f.number = static_cast<int>(i);
      f.stack = stacks_ + i * kStackBytes;
      f.doing = Doing::running;
      // A frame as if the fiber had left: the registers, then where to go on. A called function finds the stack 8
      // bytes off a multiple of 16 on x86-64.
      auto** frame = reinterpret_cast<void**>(f.stack + kStackBytes - 64) - (kFrameWords + kFrameWords % 2);
      for (int w = 0; w < kFrameWords; ++w) frame[w] = nullptr;
      frame[kReturnAddress] = reinterpret_cast<void*>(&run_fiber);
      f.stack_pointer = frame;
#if defined(WQ_EMULATOR_TSAN)
      f.tsan_fiber = __tsan_create_fiber(0);
#endif
    }
  }

  void clean_up() {
#if defined(WQ_EMULATOR_TSAN)
    for (const Fiber& f : fibers_) __tsan_destroy_fiber(f.tsan_fiber);
    // Stacks that the fibers of the next block used again would look like races between blocks; fresh ones do not.
    ::munmap(stacks_, capacity_ * kStackBytes);
    stacks_ = nullptr;
    capacity_ = 0;
#endif
    while (pieces_ > 0) free_shared(shared_[--pieces_].data);
    if (dynamic_ != nullptr) free_shared(dynamic_);
    current = nullptr;
  }

  // -------------------------------------------------------------- switching

  void enter(Fiber& f) {
    current = &f;
#if !defined(WQ_EMULATOR_TSAN)
    running_place = &f.place;
#endif
#if defined(WQ_EMULATOR_TSAN)
    __tsan_switch_to_fiber(f.tsan_fiber, 1);  // 1: the switch orders nothing
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&asan_scheduler_, f.stack, kStackBytes);
#endif
    wq_emulator_switch(&scheduler_, f.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(asan_scheduler_, nullptr, nullptr);
#endif
  }

  void leave(Fiber& f) {
#if defined(WQ_EMULATOR_TSAN)
    __tsan_switch_to_fiber(tsan_scheduler_, 1);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(f.doing == Doing::returned ? nullptr : &f.asan_stack, scheduler_stack_,
                                   scheduler_stack_bytes_);
#endif
    wq_emulator_switch(&f.stack_pointer, scheduler_);
    arrive(f);
  }

  /// What ASan wants to hear on the new stack.
  static void arrive([[maybe_unused]] Fiber& f) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(f.asan_stack, &f.block->scheduler_stack_, &f.block->scheduler_stack_bytes_);
#endif
  }

  // -------------------------------------------------------------- who waits for whom

  /// Lets the threads go on if all are at the same barrier.
  bool release_barrier() {
    if (waiting_ == 0 || waiting_ + returned_ < size()) return false;
    int line = 0;
    for (const Fiber& f : fibers_) {
      if (f.doing != Doing::at_barrier) continue;
      if (line != 0 && line != f.line) fail("barrier: some threads wait" + at_line(line) + ", some" + at_line(f.line));
      line = f.line;
    }
    if (returned_ > 0)
      fail("barrier" + at_line(line) + ": " + std::to_string(returned_) + " of " + std::to_string(size()) +
           " threads have returned before it");
    for (Fiber& f : fibers_) f.doing = Doing::running;
    waiting_ = 0;
    return true;
  }

  void report_deadlock() {
    std::string what = "deadlock:";
    int named = 0;
    for (const Fiber& f : fibers_)
      if (f.doing != Doing::returned && named++ < 4)
        what += " thread " + std::to_string(f.number) +
                (f.doing == Doing::at_barrier ? " at the barrier" : " in the warp operation") + at_line(f.line) + ";";
    fail(what);
  }

  /// If every lane of the mask has come, gives all their results and returns true.
  bool complete(int first, const Fiber& last) {
    const auto operation = [&] { return "warp operation" + at_line(last.line); };
    for (int l = 0; l < kWarp; ++l) {
      if ((last.mask >> l & 1) == 0) continue;
      if (first + l >= size()) return fail(operation() + ": its mask names a lane past the block"), false;
      const Fiber& f = fibers_[first + l];
      if (f.doing == Doing::returned)
        return fail(operation() + ": lane " + std::to_string(l) + " of its mask has returned"), false;
      if (f.doing != Doing::in_warp) return false;
      if (f.mask != last.mask || f.op != last.op)
        return fail(operation() + ": lane " + std::to_string(l) + " is in another one" + at_line(f.line)), false;
    }
    std::uint64_t ballot = 0;
    for (int l = 0; l < kWarp; ++l)
      if (last.mask >> l & 1) ballot |= (fibers_[first + l].value & 1) << l;
    for (int l = 0; l < kWarp; ++l) {
      if ((last.mask >> l & 1) == 0) continue;
      Fiber& f = fibers_[first + l];
      f.result = ballot;
      if (last.op == WarpOp::shuffle) {
        if ((last.mask >> f.source & 1) == 0)
          return fail(operation() + ": reads lane " + std::to_string(f.source) + ", which is not in its mask"), false;
        f.result = fibers_[first + f.source].value;
      }
    }
    for (int l = 0; l < kWarp; ++l)
      if (last.mask >> l & 1) fibers_[first + l].doing = Doing::running;
    return true;
  }

  std::vector<Fiber> fibers_;
  char* stacks_ = nullptr;
  std::size_t capacity_ = 0;
  Body body_ = nullptr;
  const void* context_ = nullptr;
  std::string report_;
  int returned_ = 0, waiting_ = 0;
  Shared shared_[kMostPieces];  // no vector: what a fiber allocates, TSan wants it to free
  int pieces_ = 0;
  char* dynamic_ = nullptr;
  std::size_t used_shared_ = 0;
  void* scheduler_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  std::size_t scheduler_stack_bytes_ = 0;
  void* asan_scheduler_ = nullptr;
  void* tsan_scheduler_ = nullptr;
};

void check_limits(dim3 grid, dim3 block, std::size_t shared_bytes) {
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMostThreads || block.z > 64)
    throw Report("launch: a block of " + std::to_string(threads) + " threads; 1 to 1024 are possible");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    throw Report("launch: no grid is " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " +
                 std::to_string(grid.z));
  if (shared_bytes > kMostShared)
    throw Report("launch: " + std::to_string(shared_bytes) + " bytes of shared memory; every supported device has " +
                 std::to_string(kMostShared));
}

}  // namespace

Options& options() {
  static Options instance;
  return instance;
}

#if defined(WQ_EMULATOR_TSAN)
Place here() { return current->place; }
#endif
int lane() { return current->number % kWarp; }
void barrier(int line) { current->block->wait_at_barrier(line); }
std::uint64_t warp(WarpOp op, unsigned mask, int lane, std::uint64_t value, int line) {
  return current->block->warp(op, mask, lane, value, line);
}
void* shared(const void* tag, std::size_t bytes) { return current->block->shared(tag, bytes); }
void* dynamic_shared() { return current->block->dynamic_shared(); }

void launch(dim3 grid, dim3 block, std::size_t shared_bytes, Body body, const void* context) {
  check_limits(grid, block, shared_bytes);
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::string report;
  const auto work = [&] {
    static thread_local std::unique_ptr<Block> fibers;
    if (!fibers) fibers = std::make_unique<Block>();
    for (std::uint64_t i; !stop && (i = next++) < blocks;) {
      const dim3 number(static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                        static_cast<unsigned>(i / (std::uint64_t{grid.x} * grid.y)));
      const std::uint64_t seed = options().order_seed;
      const std::string what = fibers->run({{}, number, block, grid}, shared_bytes, body, context,
                                           seed == 0 ? 0 : seed * 0x9e3779b97f4a7c15u + i);
      if (what.empty()) continue;
      fibers.reset();  // fibers that stopped half way
      stop = true;
      const std::lock_guard lock(mutex);
      if (report.empty()) report = "block " + std::to_string(i) + ": " + what;
    }
  };
  const unsigned processors = std::thread::hardware_concurrency();
  std::uint64_t workers = options().workers > 0 ? static_cast<unsigned>(options().workers) : processors;
  workers = workers < blocks ? workers : blocks;
  if (workers <= 1) {
    work();
  } else {
    std::vector<std::thread> threads;
    for (std::uint64_t w = 0; w < workers; ++w) threads.emplace_back(work);
    for (std::thread& t : threads) t.join();
  }
  __tsan_acquire(&grid_end);
#if defined(WQ_EMULATOR_TSAN)
  arena_used = 0;
#endif
  if (!report.empty()) throw Report(report);
}

}  // namespace wq::emulator
