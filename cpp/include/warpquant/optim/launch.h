// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/optim/ops.h"

/// What the dispatch hands to a device: lists of tensors by value, so that a step allocates nothing and a graph of it
/// keeps what it needs.
namespace wq::optim {

/// What a device knows of the gradients of a step.
struct Control {
  double norm, factor;  // 1: nothing is clipped
  double leave_out;     // not 0: a gradient is not finite, and nothing is to be changed
  double left_out;      // steps so far of which that was so
};

struct Item {
  Part part;
  std::int64_t first_piece;  // counted from the first item
  std::int32_t slot;         // where its number of steps is
};

/// With them a launch stays below the 4 KiB that every device takes.
inline constexpr int kMostItems = 40;

enum class Stage : std::uint8_t {
  norms,    // norms of pieces
  control,  // from those, what to do
  update,
  advance,  // numbers of steps
  clip,     // gradients, in place
};

struct Launch {
  Stage stage;
  Norm norm;
  bool watch;  // leave out steps with gradients that are not finite
  double order, most_norm;
  Settings settings;
  Gradient gradient;
  std::int64_t pieces;
  PieceNorm* norms;  // of the pieces; for `control`, of all that there are
  Control* control;  // null: gradients are taken as they are
  double* steps;
  int items;
  Item item[kMostItems];
};
static_assert(sizeof(Launch) <= 4096);

}  // namespace wq::optim
