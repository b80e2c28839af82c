// SPDX-License-Identifier: Apache-2.0
#include "warpquant/signals/signals.h"

#include "warpquant/core/levels.h"
#include "warpquant/core/parallel.h"
#include "warpquant/core/transform.h"
#include "warpquant/signals/launch.h"

WQ_KERNEL_TABLE(signals)

namespace wq::signals {

void run(const Request& request, const Execution& execution) {
  const std::int64_t count = std::ssize(request.out);
  const Params& p = request.params;
  if (execution.device) {
    Transform t;
    t.inputs = p.inputs;
    t.in_type[0] = request.in_type[0];
    t.in_type[1] = request.in_type[1];
    t.out_type = request.out_type;
    t.in = request.in;
    t.out = request.out;
    t.cut = Cut::as_needed;
    t.launch = [p](const Device& device, const Walks& walks, const double*, Handle stream) {
      return device.table->signals(device.index, {p, walks}, stream);
    };
    return transform(t, execution);
  }
  const Kernels& kernels = kernels_at(execution.level);
  parallel_for(execution.threads, count, [&](std::int64_t s, int) {
    std::vector<Series> in;
    for (int k = 0; k < p.inputs; ++k) in.push_back(request.in[k * count + s]);
    std::vector<double> rows(static_cast<std::size_t>(p.inputs * kTile));
    kernels.run(p, {{request.in_type[0], request.in_type[1]}, request.out_type, in.data(), request.out[s]},
                rows.data());
  });
}

}  // namespace wq::signals
