// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>

namespace wq {

/// Base of everything that warpquant throws. The bindings turn each type into the Python class of the same name.
struct [[gnu::visibility("default")]] Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct [[gnu::visibility("default")]] ShapeError : Error {
  using Error::Error;
};
struct [[gnu::visibility("default")]] DTypeError : Error {
  using Error::Error;
};
struct [[gnu::visibility("default")]] LayoutError : Error {
  using Error::Error;
};
struct [[gnu::visibility("default")]] ParameterError : Error {
  using Error::Error;
};
struct [[gnu::visibility("default")]] InternalError : Error {
  using Error::Error;
};

/// No driver, no device, wrong driver: `reason` is a stable word a program can test.
struct [[gnu::visibility("default")]] DeviceUnavailableError : Error {
  DeviceUnavailableError(const std::string& what, std::string reason_word)
      : Error(what), reason(std::move(reason_word)) {}
  std::string reason;
};

/// Memory of a device is short, though its pool was trimmed and batches were made as small as they get. Sizes are in
/// bytes, 0 where they are not known.
struct [[gnu::visibility("default")]] DeviceOutOfMemoryError : Error {
  using Error::Error;
  std::size_t requested = 0, limit = 0;
  std::int64_t free = 0, total = 0;
  std::map<std::string, std::size_t> live_by_tag;  // bytes in use by each function, if they are tracked
};
/// May succeed when tried again.
struct [[gnu::visibility("default")]] DeviceTransientError : Error {
  using Error::Error;
};
/// A wait for a device took longer than was allowed.
struct [[gnu::visibility("default")]] DeviceTimeoutError : Error {
  using Error::Error;
};
/// The device takes no more work from this process.
struct [[gnu::visibility("default")]] DeviceLostError : Error {
  using Error::Error;
};
/// A kernel that the device cannot start.
struct [[gnu::visibility("default")]] KernelError : Error {
  using Error::Error;
};
/// Not possible while a stream is being captured.
struct [[gnu::visibility("default")]] CaptureUnsafeError : Error {
  using Error::Error;
};

/// The user pressed Ctrl-C: the Python error is already set, the bindings only have to let it through.
struct [[gnu::visibility("default")]] Interrupted : Error {
  Interrupted() : Error("interrupted") {}
};

}  // namespace wq

#define WQ_EXPECT(condition, ErrorType, message) \
  do {                                           \
    if (!(condition)) throw ErrorType(message);  \
  } while (false)
