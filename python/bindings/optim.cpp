// SPDX-License-Identifier: Apache-2.0
#include "warpquant/optim/optim.h"

#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "arrays.h"
#include "device_array.h"
#include "register.h"
#include "warpquant/core/error.h"
#include "warpquant/core/memory.h"

namespace wq {
namespace {

using optim::Demands;
using optim::Number;

/// Kind, lr, weight decay, eps, betas, alpha, momentum, dampening; amsgrad, decoupled, centered, nesterov, maximize.
using Flags =
    std::tuple<int, double, double, double, double, double, double, double, double, bool, bool, bool, bool, bool>;
/// Inverse scale, most of a magnitude, most of the norm, its order, the norm if known; whether it is wanted, and
/// whether gradients that are not finite are to be left out.
using Wishes = std::tuple<double, double, double, double, std::optional<double>, bool, bool>;

optim::Settings settings_of(const Flags& flags) {
  optim::Settings s{};
  int kind = 0;
  std::tie(kind, s.lr, s.weight_decay, s.eps, s.beta1, s.beta2, s.alpha, s.momentum, s.dampening, s.amsgrad,
           s.decoupled, s.centered, s.nesterov, s.maximize) = flags;
  s.kind = static_cast<optim::Kind>(kind);
  return s;
}

Demands demands_of(const Wishes& wishes) {
  Demands d;
  std::tie(d.inverse_scale, d.most, d.most_norm, d.order, d.known_norm, d.want_norm, d.watch) = wishes;
  d.norm = d.order == 1.0        ? optim::Norm::one
           : d.order == 2.0      ? optim::Norm::two
           : std::isinf(d.order) ? optim::Norm::largest
                                 : optim::Norm::power;
  return d;
}

Number number_of_values(const Borrowed& a, const std::string& name) {
  if (a.bfloat16) return Number::bf16;
  WQ_EXPECT(a.type != DType::i8, DTypeError, name + ": holds integers; accepted are float64, float32 and bfloat16");
  return a.type == DType::f64 ? Number::f64 : Number::f32;
}

const char* text_of(Number n) { return n == Number::f64 ? "float64" : n == Number::f32 ? "float32" : "bfloat16"; }

std::int64_t count_of(const Borrowed& a) {
  std::int64_t count = 1;
  for (const std::int64_t n : a.shape) count *= n;
  return count;
}

/// Whether elements fill a block, in whatever order of dimensions.
bool is_dense(const Borrowed& a) {
  std::vector<std::pair<std::int64_t, std::int64_t>> steps;
  for (std::size_t d = 0; d < a.shape.size(); ++d) {
    if (a.shape[d] == 0) return true;
    if (a.shape[d] > 1) steps.emplace_back(a.strides[d], a.shape[d]);
  }
  std::sort(steps.begin(), steps.end());
  std::int64_t expected = a.item_bytes();
  for (const auto& [stride, size] : steps) {
    if (stride != expected) return false;
    expected *= size;
  }
  return true;
}

/// Whether elements that lie next to each other in one do so in the other.
bool same_order(const Borrowed& a, const Borrowed& b) {
  for (std::size_t d = 0; d < a.shape.size(); ++d)
    if (a.shape[d] > 1 && a.strides[d] * b.item_bytes() != b.strides[d] * a.item_bytes()) return false;
  return true;
}

/// A copy of `a`, in host memory, with the elements in the order of `like`.
std::vector<std::byte> reordered(const Borrowed& a, const Borrowed& like, std::int64_t count) {
  const std::int64_t size = a.item_bytes();
  std::vector<std::byte> values(static_cast<std::size_t>(count * size));
  std::vector<std::int64_t> index(a.shape.size(), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t from = 0, to = 0;
    for (std::size_t d = 0; d < index.size(); ++d) {
      from += index[d] * a.strides[d];
      to += index[d] * like.strides[d];
    }
    std::memcpy(values.data() + to / like.item_bytes() * size, a.data + from, static_cast<std::size_t>(size));
    for (std::size_t d = index.size(); d-- > 0;) {
      if (++index[d] < a.shape[d]) break;
      index[d] = 0;
    }
  }
  return values;
}

const Borrowed* there(const Borrowed& a) { return a.device ? &a : nullptr; }

/// An array of numbers on a device, all 0.
DeviceArray zeros(const Device& device, std::int64_t count) {
  const MemorySite site("optim");
  DeviceArray array(device, thread_stream(device), DType::f64, {count});
  const Borrowed memory = array.borrow();
  device.check(device.table->fill(device.index, const_cast<std::byte*>(memory.data), 0,
                                  static_cast<std::size_t>(array.bytes()), memory.stream),
               "clearing memory");
  return array;
}

/// A gradient, and if its elements lie in another order, a copy.
struct GradientMemory {
  Borrowed array;
  std::vector<std::byte> copy;
  const std::byte* data() const { return copy.empty() ? array.data : copy.data(); }
};

/// Around a computation on several arrays, which are on one device, or in memory of the host.
template <class Compute>
void compute_with(const std::vector<const Borrowed*>& arrays, py::handle first, std::int64_t elements, int num_threads,
                  const std::string& simd, const DeviceChoice& device, Compute compute) {
  const StreamRule rule(device);
  const Borrowed* const leader = arrays.empty() ? nullptr : there(*arrays.front());
  const Handle stream = leader == nullptr ? nullptr
                                          : rule.choose(*leader->device, leader->stream,
                                                        leader->names_stream && !py::isinstance<DeviceArray>(first));
  const Execution how = execution(leader, stream, rule, num_threads, simd, device);
  constexpr std::int64_t kShort = 4096;  // elements, in as long as handing the interpreter over takes
  if (!how.resident && elements <= kShort) return compute(how);
  Streams streams(how, how.resident ? arrays : std::vector<const Borrowed*>{});
  carry_out(how, [&](const Execution& where) {
    compute(where);
    streams.finish();
  });
}

/// Parameters of an optimizer, and its state, borrowed for as long as it lives.
class OptimBuffers {
 public:
  explicit OptimBuffers(const py::list& buffers) {
    std::vector<std::pair<std::string, const Borrowed*>> all;
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      names_.push_back("buffers[" + std::to_string(i) + "]");
      params_.push_back(Borrowed::in_place(buffers[i], names_[i]));
      const Borrowed& p = params_[i];
      WQ_EXPECT(is_dense(p), LayoutError,
                names_[i] +
                    ": has gaps between its elements (by its strides); accepted are arrays that fill a block of "
                    "memory, in any order of dimensions");
      if (i > 0) check_same_memory(there(p), names_[i], there(params_[0]), names_[0]);
      Slot slot{};
      slot.part.param = const_cast<std::byte*>(p.data);
      slot.part.type = number_of_values(p, names_[i]);
      slot.part.count = count_of(p);
      pieces_ += optim::pieces_of(slot.part.count);
      slots_.push_back(slot);
    }
    for (std::size_t i = 0; i < params_.size(); ++i) all.emplace_back(names_[i], &params_[i]);
    check_apart(std::move(all));
    states_.resize(params_.size());
    steps_.assign(params_.size(), 0.0);
    if (!params_.empty() && params_[0].device) {
      const auto slots = static_cast<std::int64_t>(slots_.size());
      kept_.emplace(zeros(*params_[0].device, optim::DeviceState::numbers(slots, pieces_)));
      kept_memory_ = kept_->borrow();
    }
  }

  /// Where the state of a parameter is: arrays, or None for those that there are not. The last is the float32 copy.
  void attach(std::size_t i, const py::list& arrays) {
    WQ_EXPECT(i < slots_.size() && arrays.size() == optim::kMostStates + 1, InternalError, "state: of another form");
    states_[i].clear();
    for (std::size_t k = 0; k <= optim::kMostStates; ++k) {
      std::byte*& place = k < optim::kMostStates ? slots_[i].part.state[k] : slots_[i].part.master;
      place = nullptr;
      if (arrays[k].is_none()) continue;
      const std::string name = "state of " + names_[i];
      Borrowed a = Borrowed::in_place(arrays[k], name);
      const Number wanted = slots_[i].part.type == Number::f64 ? Number::f64 : Number::f32;
      WQ_EXPECT(number_of_values(a, name) == wanted, DTypeError, name + ": is not " + text_of(wanted));
      WQ_EXPECT(a.shape == params_[i].shape, ShapeError,
                name + ": has shape " + a.shape_text() + ", but the parameter has " + params_[i].shape_text());
      WQ_EXPECT(same_order(a, params_[i]), LayoutError, name + ": has its elements in another order in memory");
      check_same_memory(there(a), name, there(params_[i]), names_[i]);
      place = const_cast<std::byte*>(a.data);
      states_[i].push_back(std::move(a));
    }
  }

  /// Norm of the gradients if it was asked for, and whether the step was left out; None on a device, where that stays.
  py::object step(const std::vector<Flags>& flags, const std::vector<int>& group_of, const py::list& grads,
                  const Wishes& wishes, int num_threads, const std::string& simd, const DeviceChoice& device) {
    std::vector<optim::Settings> groups;
    for (const Flags& f : flags) groups.push_back(settings_of(f));
    const Demands demands = demands_of(wishes);
    WQ_EXPECT(grads.size() == slots_.size() && group_of.size() == slots_.size(), ShapeError,
              "grads: has " + std::to_string(grads.size()) + " gradients for " + std::to_string(slots_.size()) +
                  " buffers");
    const StreamRule rule(device);
    std::vector<GradientMemory> memory;
    memory.reserve(grads.size());
    std::vector<optim::Target> targets;
    targets.reserve(grads.size());
    std::vector<const Borrowed*> used;
    py::handle first;
    std::int64_t elements = 0;
    for (std::size_t i = 0; i < grads.size(); ++i) {
      if (grads[i].is_none()) continue;
      const optim::Settings& settings = groups.at(static_cast<std::size_t>(group_of[i]));
      memory.push_back(gradient(grads[i], i, rule));
      if (!first) first = grads[i];
      optim::Target target{slots_[i].part, group_of[i], static_cast<std::int32_t>(i)};
      target.part.grad = memory.back().data();
      target.part.grad_type = number_of_values(memory.back().array, names_[i]);
      check_state(target.part, settings.states(), i);
      elements += target.part.count;
      targets.push_back(target);
      if (!memory.back().array.device) continue;
      used.push_back(&memory.back().array);
      used.push_back(&params_[i]);
      for (const Borrowed& s : states_[i]) used.push_back(&s);
    }
    if (targets.empty()) return py::none();
    optim::DeviceState state;
    if (kept_) {
      used.push_back(&kept_memory_);
      state = {const_cast<std::byte*>(kept_memory_.data), static_cast<std::int64_t>(slots_.size())};
    }
    optim::Outcome outcome;
    compute_with(used, first, elements, num_threads, simd, device, [&](const Execution& where) {
      outcome = optim::step(targets, groups, demands, steps_.data(), state, where);
    });
    if (kept_) return py::none();
    return py::make_tuple(outcome.norm, outcome.left_out);
  }

  std::vector<double> steps() const {
    if (!kept_) return steps_;
    const std::vector<double> all = fetch();
    return {all.begin() + kControl, all.begin() + kControl + static_cast<std::ptrdiff_t>(slots_.size())};
  }

  void set_steps(const std::vector<double>& steps) {
    WQ_EXPECT(steps.size() == slots_.size(), InternalError, "steps: of another length");
    steps_ = steps;
    if (!kept_ || steps.empty()) return;
    kept_->wait();
    kept_memory_.device->send(const_cast<std::byte*>(kept_memory_.data) + kControl * sizeof(double), steps.data(),
                              steps.size() * sizeof(double), kept_memory_.stream);
    kept_->wait();
  }

  /// Of arrays on a device: norm at the last step that asked for it, steps that were left out.
  py::tuple outcome() const {
    const std::vector<double> all = fetch();
    return py::make_tuple(all[0], all[2] != 0.0, static_cast<std::int64_t>(all[3]));
  }

 private:
  struct Slot {
    optim::Part part;
  };
  static constexpr std::ptrdiff_t kControl = sizeof(optim::Control) / sizeof(double);

  GradientMemory gradient(py::handle object, std::size_t i, const StreamRule& rule) const {
    const std::string name = "grads[" + std::to_string(i) + "]";
    GradientMemory g{Borrowed::input(object, name, true, rule, false, true), {}};
    const Borrowed &a = g.array, &p = params_[i];
    const Number type = number_of_values(a, name), own = slots_[i].part.type;
    WQ_EXPECT((type == Number::f64) == (own == Number::f64), DTypeError,
              name + ": holds " + text_of(type) + " values, but " + names_[i] + " holds " + text_of(own));
    WQ_EXPECT(a.shape == p.shape, ShapeError,
              name + ": has shape " + a.shape_text() + ", but " + names_[i] + " has " + p.shape_text());
    check_same_memory(there(a), name, there(p), names_[i]);
    if (slots_[i].part.count == 0 || same_order(a, p)) return g;
    WQ_EXPECT(!a.device, LayoutError, name + ": has its elements in another order in memory than " + names_[i]);
    g.copy = reordered(a, p, slots_[i].part.count);
    return g;
  }

  void check_state(const optim::Part& part, unsigned states, std::size_t i) const {
    for (int k = 0; k < optim::kMostStates; ++k)
      WQ_EXPECT((states >> k & 1) == 0 || part.state[k] != nullptr || part.count == 0, InternalError,
                names_[i] + ": lacks state");
    WQ_EXPECT(part.type != Number::bf16 || part.master != nullptr || part.count == 0, InternalError,
              names_[i] + ": lacks its float32 copy");
  }

  /// What the device keeps; waits for it.
  std::vector<double> fetch() const {
    std::vector<double> all(static_cast<std::size_t>(kControl) + slots_.size());
    const py::gil_scoped_release release;
    kept_->wait();
    kept_memory_.device->fetch(all.data(), kept_memory_.data, all.size() * sizeof(double), kept_memory_.stream);
    return all;
  }

  std::vector<std::string> names_;
  std::vector<Borrowed> params_;
  std::vector<std::vector<Borrowed>> states_;
  std::vector<Slot> slots_;
  std::vector<double> steps_;
  std::int64_t pieces_ = 0;
  std::optional<DeviceArray> kept_;
  Borrowed kept_memory_;
};

/// What tensors of PyTorch carry in `grad`, in memory of its own where it is a negated view.
py::list carried(const py::list& listed) {
  const py::tuple params(listed);  // a property of theirs may change the list
  static PyObject* const grad = PyUnicode_InternFromString("grad");
  static PyObject* const is_neg = PyUnicode_InternFromString("is_neg");
  py::list grads;
  for (std::size_t i = 0; i < params.size(); ++i) {
    py::object g = py::reinterpret_steal<py::object>(PyObject_GetAttr(params[i].ptr(), grad));
    if (!g) {
      if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
      PyErr_Clear();
      throw ParameterError("grads: is missing; only tensors of PyTorch carry their gradients themselves");
    }
    if (!g.is_none()) {
      const py::object negated = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(g.ptr(), is_neg));
      if (!negated) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw py::error_already_set();
        PyErr_Clear();  // a gradient that is no tensor
      } else if (py::cast<bool>(negated)) {
        g = g.attr("resolve_neg")();
      }
    }
    grads.append(std::move(g));
  }
  return grads;
}

/// Gradients clipped in place, as by a step; gives their norm.
py::object clip(const py::list& grads, const Wishes& wishes, int num_threads, const std::string& simd,
                const DeviceChoice& device) {
  const Demands demands = demands_of(wishes);
  const StreamRule rule(device);
  std::vector<Borrowed> memory;
  memory.reserve(grads.size());
  std::vector<std::pair<std::string, const Borrowed*>> all;
  std::vector<optim::Target> targets;
  std::vector<const Borrowed*> used;
  std::int64_t elements = 0, pieces = 0;
  for (std::size_t i = 0; i < grads.size(); ++i) {
    const std::string name = "grads[" + std::to_string(i) + "]";
    memory.push_back(Borrowed::in_place(grads[i], name, rule));
    const Borrowed& a = memory.back();
    WQ_EXPECT(is_dense(a), LayoutError, name + ": has gaps between its elements (by its strides)");
    check_same_memory(there(a), name, there(memory[0]), "grads[0]");
    all.emplace_back(name, &a);
    optim::Target target{};
    target.part.grad = a.data;
    target.part.param = const_cast<std::byte*>(a.data);
    target.part.type = target.part.grad_type = number_of_values(a, name);
    target.part.count = count_of(a);
    elements += target.part.count;
    pieces += optim::pieces_of(target.part.count);
    targets.push_back(target);
    if (a.device) used.push_back(&a);
  }
  check_apart(std::move(all));
  if (targets.empty()) return py::float_(0.0);
  std::optional<DeviceArray> kept;
  Borrowed kept_memory;
  optim::DeviceState state;
  if (memory[0].device) {
    kept.emplace(zeros(*memory[0].device, optim::DeviceState::numbers(0, pieces)));
    kept_memory = kept->borrow();
    used.push_back(&kept_memory);
    state = {const_cast<std::byte*>(kept_memory.data), 0};
  }
  optim::Outcome outcome;
  compute_with(used, grads[0], elements, num_threads, simd, device,
               [&](const Execution& where) { outcome = optim::clip(targets, demands, state, where); });
  if (!kept) return py::float_(outcome.norm);
  if (!demands.need_norm()) return py::none();
  double norm = 0.0;
  {
    const py::gil_scoped_release release;
    kept->wait();
    kept_memory.device->fetch(&norm, kept_memory.data, sizeof norm, kept_memory.stream);
  }
  return py::float_(norm);
}

// ---------------------------------------------------------------- dense algebra

using Vector = py::array_t<double, py::array::c_style>;

const double* read(const Vector& v, std::int64_t n) {
  WQ_EXPECT(v.size() == n, InternalError, "vectors have different lengths");
  return v.data();
}

}  // namespace

void register_optim(py::module_& m) {
  using py::arg;
  py::class_<OptimBuffers>(m, "OptimBuffers", "Parameters of an optimizer, changed in place, and its state.")
      .def(py::init<const py::list&>(), arg("buffers"))
      .def("attach", &OptimBuffers::attach, arg("index"), arg("arrays"), "Where the state of a parameter is.")
      .def("step", &OptimBuffers::step, arg("groups"), arg("group_of"), arg("grads"), arg("wishes"), arg("num_threads"),
           arg("simd"), arg("device"), "One step; gives the norm, and whether it was left out.")
      .def("outcome", &OptimBuffers::outcome, "Of arrays on a device: norm, whether left out, how many were.")
      .def_property("steps", &OptimBuffers::steps, &OptimBuffers::set_steps, "Steps of each parameter so far.");
  m.def("optim_carried", carried, arg("params"), "The gradients that parameters carry.");
  m.def("optim_clip", clip, arg("grads"), arg("wishes"), arg("num_threads"), arg("simd"), arg("device"),
        "Clip gradients in place; gives their norm.");
  m.def(
      "optim_dot",
      [](const Vector& a, const Vector& b, int num_threads, const std::string& simd) {
        return optim::dot(a.data(), read(b, a.size()), a.size(), execution(num_threads, simd));
      },
      arg("a").noconvert(), arg("b").noconvert(), arg("num_threads"), arg("simd"), "Inner product.");
  m.def(
      "optim_product",
      [](const Vector& a, const Vector& x, int num_threads, const std::string& simd) {
        const std::int64_t n = x.size();
        Vector y(n);
        const double* const matrix = read(a, n * n);
        double* const to = y.mutable_data();
        const Execution how = execution(num_threads, simd);
        {
          const py::gil_scoped_release release;
          optim::product(matrix, x.data(), to, n, how);
        }
        return y;
      },
      arg("a").noconvert(), arg("x").noconvert(), arg("num_threads"), arg("simd"), "Product of a matrix and a vector.");
  m.def(
      "optim_rank_two",
      [](Vector& matrix, const std::array<double, 4>& factors, const Vector& s, const Vector& h, const Vector& x,
         int num_threads, const std::string& simd) {
        const std::int64_t n = s.size();
        read(matrix, n * n);
        double* const to = matrix.mutable_data();
        Vector product(n);
        const auto [a, ss, sh, hh] = factors;
        const optim::RankTwo change{a, ss, sh, hh, s.data(), read(h, n), read(x, n), product.mutable_data()};
        const Execution how = execution(num_threads, simd);
        {
          const py::gil_scoped_release release;
          optim::rank_two(change, to, n, how);
        }
        return product;
      },
      arg("matrix").noconvert(), arg("factors"), arg("s").noconvert(), arg("h").noconvert(), arg("x").noconvert(),
      arg("num_threads"), arg("simd"),
      "matrix = a matrix + ss s s^T + sh (s h^T + h s^T) + hh h h^T, in place; gives its product with x.");
  m.def(
      "optim_two_loops",
      [](const std::vector<Vector>& gradients, const std::vector<Vector>& steps, const std::vector<double>& curvatures,
         double scale, const Vector& g, int num_threads, const std::string& simd) {
        const std::int64_t n = g.size();
        WQ_EXPECT(gradients.size() == steps.size() && steps.size() == curvatures.size(), InternalError,
                  "pairs of different numbers");
        optim::History history;
        for (const Vector& v : gradients) history.gradients.push_back(read(v, n));
        for (const Vector& v : steps) history.steps.push_back(read(v, n));
        history.curvatures = curvatures;
        Vector direction(n);
        std::vector<double> alphas(steps.size());
        double* const to = direction.mutable_data();
        const Execution how = execution(num_threads, simd);
        {
          const py::gil_scoped_release release;
          optim::two_loops(history, scale, g.data(), to, alphas.data(), n, how);
        }
        return py::make_tuple(direction, alphas);
      },
      arg("gradients"), arg("steps"), arg("curvatures"), arg("scale"), arg("g").noconvert(), arg("num_threads"),
      arg("simd"), "Direction of L-BFGS, and the numbers of its first loop.");
}

}  // namespace wq
