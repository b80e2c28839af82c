// SPDX-License-Identifier: Apache-2.0
#include "ma_recurrent.h"
#include "ma_scan.h"
#include "ma_windowed.h"

namespace wq::ma::inline WQ_LEVEL {
namespace {

template <class Kind>
constexpr bool kRecurrent = Kind::info.recurrent;

/// Call `f` with the kind of the job and its value types.
template <class F>
void visit(const Job& job, const Spec& spec, F f) {
  AllKinds::visit(job.kind, spec, [&]<class Kind>(const Kind& kind) {
    const auto with_out = [&]<class In>(In in) {
      if (job.out_type == DType::f32)
        f(kind, in, float{});
      else
        f(kind, in, double{});
    };
    if (job.in_type == DType::f32)
      with_out(float{});
    else
      with_out(double{});
  });
}

void windowed(Job& job, const std::int64_t* first_bar, std::byte* scratch) {
  visit(job, job.specs[0], [&]<class Kind, class In, class Out>(const Kind&, In, Out) {
    if constexpr (!kRecurrent<Kind>) run_windowed<Kind, In, Out>(job, first_bar, scratch);
  });
}

void recurrent(Job& job, std::byte* scratch) {
  visit(job, job.specs[0], [&]<class Kind, class In, class Out>(const Kind&, In, Out) {
    if constexpr (kRecurrent<Kind>) run_recurrent<Kind, In, Out>(job, scratch);
  });
}

bool scan(Job& job, std::byte* scratch) {
  bool done = false;
  for (int s = 0; s < job.count; ++s)
    visit(job, job.specs[s], [&]<class Kind, class In, class Out>(const Kind& kind, In, Out) {
      if constexpr (requires { run_scan<Kind, In, Out>(kind, job, s, nullptr); }) {
        run_scan<Kind, In, Out>(kind, job, s, reinterpret_cast<double*>(scratch));
        done = true;
      }
    });
  return done;
}

std::size_t scratch_bytes(int kind_index, const Spec* specs, int count) {
  std::int64_t rows = 0;
  for (int s = 0; s < count; ++s)
    AllKinds::visit(kind_index, specs[s], [&]<class Kind>(const Kind& kind) {
      std::int64_t need;
      if constexpr (kRecurrent<Kind>) {
        const std::int64_t state = (sizeof(Lane<Kind, double>) + sizeof(V) - 1) / sizeof(V);
        const std::int64_t panel = (kMaxLanes / W) * (kind.span() + kChunk + state * count) + kind.warmup();
        const std::int64_t single = (kind.warmup() + 4 * kEight) / W + kind.span() + (W + 1) * kRefresh;
        need = kind.span() + (panel > single ? panel : single);
      } else {
        need = kind.span() + kind.ring() + block_bars(specs[s].length);
      }
      rows = need > rows ? need : rows;
    });
  return static_cast<std::size_t>(rows + 8) * sizeof(V);
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {kLanes, windowed, recurrent, scan, scratch_bytes};

}  // namespace wq::ma::inline WQ_LEVEL
