// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// What a device module (`_cuda`, or `_emulator` in tests) offers to `_core`: plain functions behind a capsule, no
/// symbol shared between the libraries, no CUDA type in sight. The capsule's name holds the version of this header.
namespace wq {

struct Flaws;
struct Series;
enum class DType : std::uint8_t;

namespace atc {
struct Launch;
struct StreamLaunch;
struct Run;
}  // namespace atc
namespace ma {
struct Launch;
}
namespace equity {
struct Launch;
}
namespace signals {
struct Launch;
}
namespace rows {
struct Job;
}
namespace paths {
struct Launch;
}
namespace options::scenario {
struct Launch;
}
namespace optim {
struct Launch;
}
namespace pinn {
struct Launch;
}
namespace surface {
struct Launch;
}

inline constexpr int kBackendAbi = 11;
inline constexpr const char* kBackendCapsule = "warpquant.backend.11";

struct BackendStatus {
  int driver_version;  // 1000 * major + 10 * minor, 0 without a driver
  int runtime_version;
  int device_count;
  char reason[32];  // "" if devices can be used, else a stable word: no_driver, old_driver, no_device, ...
  char message[256];
};

struct DeviceInfo {
  char name[256];
  char uuid[64];
  int major, minor;  // compute capability
  int multiprocessors;
  std::int64_t memory_total, memory_free;  // bytes
  int runs_kernels;                        // whether a kernel of this build ran on it
  char message[256];                       // why not
};

/// How a call ended. The bindings raise an exception of their own for each but `none`.
enum class Fault : std::int32_t {
  none,
  out_of_memory,
  unavailable,  // no driver, no such device
  transient,    // may succeed when tried again
  lost,         // the device takes no more work from this process
  kernel,       // a launch that cannot be: its configuration, no code for this device
  capture,      // not possible while the stream is being captured
  invalid,      // an argument was wrong, which is a mistake of ours
};

/// A stream or an event of a device. Of streams null and 1 are the default one, and 2 is that of the calling thread.
using Handle = void*;

/// Priorities of streams: kernels of a lower number go first, as far as a device tells the numbers apart.
inline constexpr int kUsualPriority = 0, kHighPriority = -100;

/// Everything that takes a stream only puts work into it, unless it says otherwise.
struct BackendTable {
  const char* name;  // what device names begin with
  void (*status)(BackendStatus* out);
  /// `try_it`: also memory, and whether kernels run; that takes memory of the device for good.
  void (*device)(int index, int try_it, DeviceInfo* out);
  /// Text of the last fault on the calling thread.
  const char* (*message)();

  Fault (*allocate)(int device, std::size_t bytes, Handle stream, void** out);
  Fault (*release)(int device, void* memory, Handle stream);
  /// Return to the system what the device's pool keeps for later.
  Fault (*trim)(int device);
  /// Host memory that copies reach directly.
  Fault (*allocate_pinned)(int device, std::size_t bytes, void** out);
  Fault (*release_pinned)(int device, void* memory);
  /// Memory that is no stream's: the device's own, or pages that move between it and the host.
  Fault (*allocate_direct)(int device, std::size_t bytes, int managed, void** out);
  /// Nobody may work on it any more.
  Fault (*release_direct)(int device, void* memory);
  Fault (*memory)(int device, std::int64_t* free, std::int64_t* total);  // bytes
  /// Whether copies reach it directly, so that they may go on after `copy` is back.
  Fault (*pinned)(int device, const void* memory, int* out);

  /// Between any two memories. Host memory that is not pinned may be read, and is written, before the call returns.
  Fault (*copy)(int device, void* to, const void* from, std::size_t bytes, Handle stream);
  /// From the memory of one device to that of another; the stream is the target's.
  Fault (*copy_across)(int device, void* to, int from_device, const void* from, std::size_t bytes, Handle stream);
  Fault (*fill)(int device, void* to, int byte, std::size_t bytes, Handle stream);

  Fault (*create_stream)(int device, int priority, Handle* out);
  Fault (*destroy_stream)(int device, Handle stream);    // what is in it is still done
  Fault (*query)(int device, Handle stream, int* done);  // whether all that was put into it is done
  Fault (*synchronize)(int device);                      // waits for all streams, however long that takes
  Fault (*create_event)(int device, Handle* out);
  Fault (*destroy_event)(int device, Handle event);
  Fault (*record)(int device, Handle event, Handle stream);
  Fault (*query_event)(int device, Handle event, int* done);
  Fault (*wait)(int device, Handle stream, Handle event);   // the stream does, not the caller
  Fault (*capturing)(int device, Handle stream, int* out);  // whether a graph is being made of what is put into it

  /// What is wrong with each series.
  Fault (*survey)(int device, const Series* series, std::int64_t count, DType type, Flaws* flaws, Handle stream);

  // Domains.
  Fault (*ma)(int device, const ma::Launch& launch, Handle stream);
  Fault (*equity)(int device, const equity::Launch& launch, Handle stream);
  Fault (*atc)(int device, const atc::Launch& launch, Handle stream);
  std::size_t (*atc_scratch)(int device, const atc::Run& run);  // bytes for each group
  Fault (*atc_stream)(int device, const atc::StreamLaunch& launch, Handle stream);
  std::size_t (*atc_stream_scratch)(const atc::Run& run, std::int64_t groups);
  Fault (*signals)(int device, const signals::Launch& launch, Handle stream);
  Fault (*rows)(int device, const rows::Job& job, Handle stream);
  Fault (*paths)(int device, const paths::Launch& launch, Handle stream);
  Fault (*scenario)(int device, const options::scenario::Launch& launch, Handle stream);
  Fault (*optim)(int device, const optim::Launch& launch, Handle stream);
  Fault (*pinn)(int device, const pinn::Launch& launch, Handle stream);
  Fault (*surface)(int device, const surface::Launch& launch, Handle stream);
};

}  // namespace wq
