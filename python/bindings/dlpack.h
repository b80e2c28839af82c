// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// The parts of the DLPack 1.3 binary interface that a consumer of host memory needs. Layouts are fixed by the
/// standard (https://dmlc.github.io/dlpack); the names are ours.
namespace wq::dlpack {

inline constexpr std::uint32_t kMajor = 1, kMinor = 3;
inline constexpr const char* kLegacyName = "dltensor";
inline constexpr const char* kLegacyUsedName = "used_dltensor";
inline constexpr const char* kVersionedName = "dltensor_versioned";
inline constexpr const char* kVersionedUsedName = "used_dltensor_versioned";
inline constexpr const char* kExchangeName = "dlpack_exchange_api";
inline constexpr std::uint64_t kReadOnly = 1;

enum DeviceType : std::int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kExtension = 12, kCudaManaged = 13 };
enum TypeCode : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kOpaque = 3, kBfloat = 4, kComplex = 5, kBool = 6 };

struct Version {
  std::uint32_t major, minor;
};

struct Tensor {
  void* data;
  struct {
    std::int32_t type, id;
  } device;
  std::int32_t ndim;
  struct {
    std::uint8_t code, bits;
    std::uint16_t lanes;
  } dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null means compact, row by row
  std::uint64_t byte_offset;
};

struct LegacyManaged {
  Tensor tensor;
  void* context;
  void (*deleter)(LegacyManaged*);
};

struct Managed {
  Version version;
  void* context;
  void (*deleter)(Managed*);
  std::uint64_t flags;
  Tensor tensor;
};

/// What a type offers as `__dlpack_c_exchange_api__`: the same exchange without a Python call.
struct ExchangeApi {
  Version version;
  ExchangeApi* previous;
  void* allocator;
  int (*managed_from_object)(void* object, Managed** out);
  int (*object_from_managed)(Managed* tensor, void** out);
  int (*borrow_from_object)(void* object, Tensor* out);  // may be null; valid while control stays with the caller
  int (*current_work_stream)(std::int32_t device_type, std::int32_t device_id, void** out);
};

}  // namespace wq::dlpack
