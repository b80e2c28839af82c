// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "arrays.h"
#include "warpquant/core/device.h"

namespace wq {

/// An array in the memory of a device, which it owns: what `warpquant.Array` is.
class DeviceArray {
 public:
  /// Compact, last dimension contiguous; not filled.
  DeviceArray(const Device& device, Handle stream, DType type, std::vector<std::int64_t> shape);

  /// The same memory with the last two dimensions exchanged.
  DeviceArray swapped() const;
  /// One of the arrays along the first dimension, in the same memory. Throws LayoutError where its values would not lie
  /// together.
  DeviceArray part(std::int64_t i) const;
  /// As memory to compute on; it lives as long as somebody keeps that.
  Borrowed borrow() const;

  const Device& device() const { return device_; }
  const std::vector<std::int64_t>& shape() const { return shape_; }
  DType type() const { return type_; }
  std::int64_t bytes() const { return bytes_; }
  Handle stream() const { return stream_; }

  void fill_from(const py::array& values);
  void wait() const;
  /// To a device by its name, or into an array; gives the new array, or the one that was given.
  py::object copy_to(const py::object& target) const;
  py::object dlpack(const py::object& stream, const py::object& max_version, const py::object& dl_device,
                    const py::object& copy) const;
  py::tuple dlpack_device() const;
  py::dict cuda_array_interface() const;

 private:
  void copy_into(const DeviceArray& target) const;
  void copy_into(const py::array& target) const;
  std::byte* data() const { return memory_->data() + offset_; }
  /// Make a consumer's stream wait for what has been put into ours; gives that stream.
  Handle order_after(const py::object& consumer) const;

  Device device_;
  Handle stream_;
  DType type_;
  std::vector<std::int64_t> shape_, strides_;  // strides in bytes
  std::int64_t bytes_, offset_ = 0;
  std::shared_ptr<DeviceMemory> memory_;
};

/// Whether an array is in pinned memory of ours.
bool is_pinned_for(const py::array& target, const Device& device);
/// Such memory lives until the work put into the stream so far is done. If not, somebody has to wait.
bool keep_until_copied(const py::array& target, const Device& device, Handle stream);

/// The device of a DLPack type and number, if its module is loaded.
std::optional<Device> device_of(std::int32_t type, std::int32_t id);

}  // namespace wq
