// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "warpquant/core/execution.h"
#include "warpquant/core/row_calls.h"
#include "warpquant/pinn/launch.h"

/// Networks of prices: on the CPU, and what devices are handed.
namespace wq::pinn {

/// Numbers of weights and biases of a network with these widths, the inputs first.
std::int64_t parameters_of(std::span<const int> widths);

/// A network in the order that kernels want, in float64 and float32. Parameters are given layer by layer: the weights
/// as [out][in], then the bias.
class Model {
 public:
  Model(std::vector<int> widths, Activation activation, std::span<const double> parameters,
        std::optional<Surface> surface, bool in_f32);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /// Other weights and biases; nobody may be computing with the model.
  void set_parameters(std::span<const double> parameters);

  const View& view() const { return view_; }
  std::span<const int> widths() const { return widths_; }
  /// The network as a device sees it, with parameters in its memory; ParameterError if it is too deep for one.
  Placed placed(const void* parameters, bool in_f32, Products products) const;
  /// Where operations on rows find it on a device from now on; nobody may have such a call under way.
  void place(const Device& device, const Placed& placed);
  /// Throws InternalError where it has not been placed.
  const Placed& place_on(const Device& device) const;
  int inputs() const { return widths_.front(); }
  /// How operations on rows know it; it is theirs while it lives.
  double number() const { return number_; }
  std::int64_t flops() const { return flops_; }

 private:
  template <class T>
  struct Packed {
    std::vector<Layer<T>> layers;
    std::vector<T> numbers;
  };
  template <class T>
  void shape(Packed<T>& packed, Net<T>& net);
  template <class T>
  void fill(Packed<T>& packed, std::span<const double> parameters);

  std::vector<int> widths_;
  Activation activation_;
  bool in_f32_;
  Packed<double> packed_;
  Packed<float> packed_f32_;
  View view_{};
  std::vector<std::pair<Device, Placed>> places_;
  double number_;
  std::int64_t flops_ = 0;
};

/// Points as rows of `inputs` numbers.
struct Points {
  std::int64_t count;
  const double* x;
};

/// One number for each point.
void evaluate(const Model& model, bool in_f32, Points points, double* y, const Execution& how);

/// `streams.count()` numbers for each point, stream by stream, along directions that are rows of `inputs` numbers.
void differentiate(const Model& model, bool in_f32, Points points, const double* directions, Streams streams, double* y,
                   const Execution& how);

/// Loss of all points. The residuals and the gradient may be null. The same bits for any number of threads.
double loss(const Model& model, const Collocation<double>& job, double* residuals, double* gradient,
            const Execution& how);

/// Of each point the gradient of its residual, a row of `rows`. The residuals have to be linear in the streams: no
/// obstacle; weights do not matter. The same bits for any number of threads.
void jacobian(const Model& model, const Collocation<double>& job, double* residuals, double* rows,
              const Execution& how);

/// The operation on rows for one row of numbers, without what rows need; results as many as there are, NaN where not
/// wanted.
void price_one(const Model& model, const double (&arguments)[kInputs], bool in_f32, bool extrapolate,
               std::uint32_t wanted, double (&results)[kOutputs], Level level);

// ------------------------------------------------------------------------------------------------ devices

/// The operation on rows.
rows::Put prices_on(const Device& device, const rows::Job& job, Luggage& luggage);

/// `job` but for its `blocks` and memory.
rows::Put jets_on(const Device& device, JetLaunch job, Luggage& luggage);
rows::Put loss_on(const Device& device, LossLaunch job, Luggage& luggage);

}  // namespace wq::pinn
