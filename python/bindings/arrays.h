// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/core/series.h"

/// Between Python objects and series: arguments of any array kind in host memory are borrowed without a copy where
/// their layout and type allow, results are NumPy arrays from recycled memory.
namespace wq {

namespace py = pybind11;

/// A call on arrays of a device, put off: what `warpquant.prepare` makes.
struct PreparedCall {
  std::unique_ptr<Prepared> work;  // none before a call has been prepared
};

/// Backend, number of the device, streams of a pipeline, bytes and least series of its batches, whether the CPU may
/// stand in; for arrays that are on the device the stream that was asked for, the one of the `with` block around, and
/// what to prepare, if so. None: the CPU.
using DeviceChoice =
    std::optional<std::tuple<std::string, int, int, std::int64_t, std::int64_t, bool, std::optional<std::int64_t>,
                             std::optional<std::int64_t>, std::optional<PreparedCall*>>>;

/// Streams as DLPack numbers them: 1 is the default one of the device, 2 that of the thread; others are handles.
inline Handle stream_of(std::int64_t number) { return reinterpret_cast<Handle>(static_cast<std::uintptr_t>(number)); }
inline std::int64_t number_of(Handle stream) {
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(stream));
}
inline constexpr std::int64_t kDefaultStream = 1, kUnordered = -1;

/// The stream for work on arrays of a device, of which nobody else says one.
class StreamRule {
 public:
  StreamRule() = default;
  explicit StreamRule(const DeviceChoice& choice);

  /// Whether other streams wait for it, and it for them.
  bool ordered() const { return asked_ != kUnordered; }
  /// `theirs`: the stream in which an argument is used, which the call follows if it is that of a framework.
  Handle choose(const Device& device, Handle theirs = nullptr, bool framework = false) const;

 private:
  std::optional<std::int64_t> asked_, current_;
};

/// Throws CaptureUnsafeError if a stream is being captured into a graph.
void refuse_captured(const Device& device, Handle stream);

/// Memory of an argument, borrowed until destroyed (which needs the GIL): of the host, or of a device.
class Borrowed {
 public:
  /// Anything with the buffer protocol, the DLPack exchange table, `__dlpack__` or `__array__`, or a list. Numbers are
  /// float64 or float32 afterwards; integers are widened. Throws DTypeError, ShapeError, LayoutError naming `name`.
  /// Memory of a device is refused unless `or_device`. With `keep_int8`, int8 stays, and bool counts as it; with
  /// `keep_bfloat16`, bfloat16 stays.
  static Borrowed input(py::handle object, const std::string& name, bool or_device = false, const StreamRule& rule = {},
                        bool keep_int8 = false, bool keep_bfloat16 = false);

  /// Memory to write to: the same, but writable and of exactly this type.
  static Borrowed output(py::handle object, const std::string& name, DType type, const StreamRule& rule = {});

  /// Memory to change in place, of float64, float32 or bfloat16.
  static Borrowed in_place(py::handle object, const std::string& name, const StreamRule& rule = {});

  /// A copy that may be destroyed without the GIL.
  std::shared_ptr<const void> hold() const;

  const std::byte* data = nullptr;
  std::vector<std::int64_t> shape, strides;  // strides in bytes
  DType type = DType::f64;
  bool bfloat16 = false;  // what values are, and `type` has no word for
  bool writable = false;
  std::optional<Device> device;  // none: the host
  Handle stream = nullptr;       // in which the memory may be used
  bool names_stream = false;     // whether its owner said so, and frees it in that order

  int ndim() const { return static_cast<int>(shape.size()); }
  std::int64_t item_bytes() const { return bfloat16 ? 2 : item_size(type); }
  std::string shape_text() const;
  bool overlaps_itself() const;
  /// Whether elements follow each other in the order of rows.
  bool is_compact() const;
  void set_keep(std::shared_ptr<void> keep) { keep_ = std::move(keep); }
  /// Lowest and highest address that elements occupy; equal if there are none.
  std::pair<const std::byte*, const std::byte*> extent() const;

 private:
  std::shared_ptr<void> keep_;
  friend class Resolver;
};

/// A compact array of `count` float64 that the package itself has made; InternalError if it is none.
Borrowed compact_numbers(py::handle object, const std::string& name, std::int64_t count);
inline const double* numbers_of(const Borrowed& a) { return reinterpret_cast<const double*>(a.data); }

/// A compact copy of memory of a device; waits for its stream.
py::array copy_to_host(const Borrowed& there);

/// Throws LayoutError if two arguments are not in the same memory; null stands for one in host memory.
void check_same_memory(const Borrowed* a, const std::string& a_name, const Borrowed* b, const std::string& b_name);

/// Whether two arrays are on the same device; null stands for one in host memory.
bool same_memory(const Borrowed* a, const Borrowed* b);

bool overlap(const Borrowed& a, const Borrowed& b);

/// Throws LayoutError if two of several arrays to write to, each with its name, have memory in common.
void check_apart(std::vector<std::pair<std::string, const Borrowed*>> outputs);

py::dtype numpy_type(DType type);

/// A new compact array, last dimension contiguous; large ones from recycled memory.
py::array new_array(DType type, const std::vector<std::int64_t>& shape);

/// Copies that arguments needed, by reason, since the start of the process.
py::dict copy_counts();

/// Series of one argument: of an array (1-D, or 2-D with time along one axis), or of a list of 1-D arrays.
class Panel {
 public:
  /// `or_int8`: on a device, int8 is accepted, too.
  static Panel of_array(py::handle object, const std::string& name, int time_axis, bool or_int8 = false,
                        const DeviceChoice& device = std::nullopt);
  static Panel of_columns(const py::list& columns, const std::string& name, const std::vector<std::string>& labels);

  std::int64_t size() const { return count_; }
  std::int64_t bars(std::int64_t i) const { return columns_ ? arrays_[i].shape[0] : arrays_[0].shape[time_axis_]; }
  std::int64_t longest() const;
  bool same_bars() const;
  Series series(std::int64_t i) const;
  DType type() const { return type_; }
  /// Memory of the panel, whose device and stream are those of the whole.
  const Borrowed* on_device() const { return !columns_ && arrays_[0].device ? &arrays_[0] : nullptr; }
  /// Where a call goes whose first argument this is, and where its results come from.
  Handle stream() const { return stream_; }
  const StreamRule& rule() const { return rule_; }
  bool is_columns() const { return columns_; }
  int time_axis() const { return time_axis_; }
  const std::vector<Borrowed>& arrays() const { return arrays_; }
  /// "series 3" or "'AAPL'".
  std::string label(std::int64_t i) const;

 private:
  std::vector<Borrowed> arrays_;
  std::vector<std::string> labels_;
  std::int64_t count_ = 0;
  int time_axis_ = 0;
  bool columns_ = false;
  DType type_ = DType::f64;
  StreamRule rule_;
  Handle stream_ = nullptr;
};

/// A result with the structure of a panel: an array of the same shape and memory order; for columns of equal length
/// one table (bars x columns, each column contiguous); for others a list of 1-D arrays. With `copies` >= 0 there is a
/// leading axis of that length.
class Result {
 public:
  Result(const Panel& panel, DType type, std::int64_t copies = -1);
  /// Into memory of the caller's, which must have that structure and type.
  Result(const Panel& panel, DType type, std::int64_t copies, py::handle out, const std::string& name);
  /// One value per series instead of one per bar.
  static Result last_values(const Panel& panel, DType type);

  /// Of a panel that has bars.
  Sink sink(std::int64_t i) const { return sinks_[i]; }
  /// Bytes from one copy to the next.
  std::int64_t copy_step(std::int64_t i) const { return steps_[i]; }
  py::object object() const { return object_; }
  const std::vector<Borrowed>& arrays() const { return arrays_; }
  std::vector<const Borrowed*> borrowed() const {
    std::vector<const Borrowed*> list;
    for (const Borrowed& a : arrays_) list.push_back(&a);
    return list;
  }

 private:
  Result() = default;
  void set_sinks(const Panel& panel, bool several);
  void set_last_sinks(std::int64_t count, DType type);

  py::object object_;
  std::vector<Borrowed> arrays_;  // one, or one per column
  std::vector<std::int64_t> steps_;
  std::vector<Sink> sinks_;
  bool columns_ = false;
};

/// Throws ShapeError or LayoutError if an argument does not go with another, series by series.
void check_alike(const Panel& other, const std::string& name, const Panel& first, const std::string& first_name);
/// Throws LayoutError if `out` shares memory with an argument.
void check_out_apart(const Result& out, const Panel& input, const std::string& name);

/// Around a computation on arrays of a device that are not all used in the same stream.
class Streams {
 public:
  /// Lets the computation's stream wait for those of the arrays. A call that is prepared gets the arrays.
  Streams(const Execution& how, std::vector<const Borrowed*> arrays);
  /// Arrays that an unfinished computation uses stay until the device is done.
  ~Streams();
  /// Lets their streams wait for the computation.
  void finish();

 private:
  const Execution& how_;
  std::vector<const Borrowed*> others_;
  bool finished_ = false;
};

Execution execution(int num_threads, const std::string& simd, const DeviceChoice& device = std::nullopt);
/// The same, where the panel is if it is on a device. Throws CaptureUnsafeError if its stream is being captured.
Execution execution(const Panel& panel, int num_threads, const std::string& simd, const DeviceChoice& device);
/// The same for memory of a device; null: there is none.
Execution execution(const Borrowed* there, Handle stream, const StreamRule& rule, int num_threads,
                    const std::string& simd, const DeviceChoice& device);

/// The same for work that makes its own data on a device, in the stream that the rule says, and whose results are
/// waited for.
Execution execution_in_stream(int num_threads, const std::string& simd, const DeviceChoice& device);

/// Compute, without the GIL; on the CPU if memory is short of a device for which that may stand in.
void carry_out(const Execution& how, const std::function<void(const Execution&)>& compute);

}  // namespace wq
