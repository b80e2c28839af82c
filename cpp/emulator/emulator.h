// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>

/// Runs CUDA kernels on the host, for tests: every CUDA thread is a fiber, so that barriers and warp operations mean
/// what they mean on a device, and misuse of them is reported. The vocabulary below is what kernels under cuda/ may
/// use; it has the names and meanings of the CUDA programming guide. docs/adr/0005-emulator.md says what this can
/// prove.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace wq::emulator {

inline constexpr std::size_t kMostShared = 64 * 1024;  // bytes; of the smallest supported device, after opting in

struct Options {
  std::uint64_t order_seed = 0;  // 0: threads run in their order; else in a shuffled one
  int workers = 0;               // blocks at a time; 0: as many as there are processors
};
Options& options();

/// A kernel did what no kernel may.
struct Report : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Where the running CUDA thread stands.
struct Place {
  dim3 thread, block, block_size, grid;
};
#if defined(WQ_EMULATOR_TSAN)
/// A copy: what kernels read, TSan watches.
Place here();
#else
extern constinit thread_local const Place* running_place;
inline const Place& here() { return *running_place; }
#endif

/// `line`: of the kernel, for reports.
void barrier(int line);
enum class WarpOp { shuffle, ballot, sync };
std::uint64_t warp(WarpOp op, unsigned mask, int lane, std::uint64_t value, int line);
int lane();

/// Shared memory of the running block: one piece for each `tag`, of exactly that size, full of NaN.
void* shared(const void* tag, std::size_t bytes);
void* dynamic_shared();

using Body = void (*)(const void* context);
/// Run every thread of a grid. Throws `Report`.
void launch(dim3 grid, dim3 block, std::size_t shared_bytes, Body body, const void* context);

template <class Kernel, class... Arguments>
void launch(Kernel kernel, dim3 grid, dim3 block, std::size_t shared_bytes, const Arguments&... arguments) {
  const auto call = [&] { kernel(arguments...); };
  launch(grid, block, shared_bytes, [](const void* c) { (*static_cast<const decltype(call)*>(c))(); }, &call);
}

template <class T>
std::uint64_t to_bits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "a warp exchanges 4 or 8 bytes");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T of_bits(std::uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// threadIdx and its like: objects, not macros, because toolkit headers use these names for parameters.
template <dim3 Place::* kWhich>
struct GridVariable {
  struct {
    operator unsigned() const { return (here().*kWhich).x; }
  } x;
  struct {
    operator unsigned() const { return (here().*kWhich).y; }
  } y;
  struct {
    operator unsigned() const { return (here().*kWhich).z; }
  } z;
};

}  // namespace wq::emulator

inline constexpr wq::emulator::GridVariable<&wq::emulator::Place::thread> threadIdx{};
inline constexpr wq::emulator::GridVariable<&wq::emulator::Place::block> blockIdx{};
inline constexpr wq::emulator::GridVariable<&wq::emulator::Place::block_size> blockDim{};
inline constexpr wq::emulator::GridVariable<&wq::emulator::Place::grid> gridDim{};

#define WQ_SHARED(T, name, count)   \
  static const char name##_tag = 0; \
  T* const name = static_cast<T*>(::wq::emulator::shared(&name##_tag, sizeof(T) * (count)))
#define WQ_DYNAMIC_SHARED(T, name) T* const name = static_cast<T*>(::wq::emulator::dynamic_shared())

inline void __syncthreads(int line = __builtin_LINE()) { wq::emulator::barrier(line); }
inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
  wq::emulator::warp(wq::emulator::WarpOp::sync, mask, 0, 0, line);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int line = __builtin_LINE()) {
  using namespace wq::emulator;
  return of_bits<T>(warp(WarpOp::shuffle, mask, source & 31, to_bits(value), line));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int line = __builtin_LINE()) {
  const int self = wq::emulator::lane(), source = self - static_cast<int>(by);
  return __shfl_sync(mask, value, source < 0 ? self : source, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int line = __builtin_LINE()) {
  const int self = wq::emulator::lane(), source = self + static_cast<int>(by);
  return __shfl_sync(mask, value, source > 31 ? self : source, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int with, int line = __builtin_LINE()) {
  return __shfl_sync(mask, value, wq::emulator::lane() ^ with, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return static_cast<unsigned>(wq::emulator::warp(wq::emulator::WarpOp::ballot, mask, 0, predicate != 0, line));
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) == mask;
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }

template <class T>
T atomicAdd(T* p, T value) {
  using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
  auto* bits = reinterpret_cast<Bits*>(p);
  Bits before = __atomic_load_n(bits, __ATOMIC_RELAXED);
  T old;
  do old = wq::emulator::of_bits<T>(before);
  while (!__atomic_compare_exchange_n(bits, &before, static_cast<Bits>(wq::emulator::to_bits<T>(old + value)), false,
                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
inline int atomicOr(int* p, int value) { return __atomic_fetch_or(p, value, __ATOMIC_RELAXED); }
inline int atomicMin(int* p, int value) {
  int before = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (value < before && !__atomic_compare_exchange_n(p, &before, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return before;
}
