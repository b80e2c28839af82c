// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "warpquant/core/math.h"

/// What one bar does to an account that follows a signal (docs/backtest.md).
namespace wq::backtest::inline WQ_LEVEL {

/// Where a signal takes a side and leaves it. A side that is not wanted has a level that no signal passes.
template <class V>
struct Levels {
  V long_above, short_below, long_exit, short_exit;
};

/// The side of a signal: 1 long, -1 short, 0 flat; `side` is the one before. NaN passes no level and stays nowhere.
template <class V>
WQ_HD V next_side(V signal, V side, const Levels<V>& levels) {
  const auto stays = either(both(gt(side, V(0.0)), ge(signal, levels.long_exit)),
                            both(lt(side, V(0.0)), le(signal, levels.short_exit)));
  return select(gt(signal, levels.long_above), V(1.0),
                select(lt(signal, levels.short_below), V(-1.0), keep_if(stays, side)));
}

/// How much of `size` a signal asks for on its side: from 0, on the wrong side of zero, to 1.
template <class V>
WQ_HD V strength(V signal, V side) {
  return min(max(side * signal, V(0.0)), V(1.0));
}

/// `trade`: of the notional that is traded. The rates, of what is held at the close before, are paid on each bar.
template <class V>
struct Rates {
  V trade, held_long, held_short;
};

/// How far an equity is and was below its highest, which is 1 at the start.
template <class V>
struct Drawdown {
  V peak = V(1.0), deepest = V(1.0);   // `deepest`: the least share of the peak
  V under = V(0.0), longest = V(0.0);  // bars in a row below the peak

  WQ_HD void add(V equity) {
    peak = max(equity, peak);
    under = keep_if(lt(equity, peak), under + V(1.0));
    longest = max(under, longest);
    const auto deeper = lt(equity, deepest * peak);  // the division is for the few bars that need it
    if (any(deeper)) deepest = select(deeper, min(equity / peak, deepest), deepest);
  }

  WQ_HD void take_back(decltype(lt(V(), V())) m, const Drawdown& old) {
    peak = select(m, old.peak, peak);
    deepest = select(m, old.deepest, deepest);
    under = select(m, old.under, under);
    longest = select(m, old.longest, longest);
  }
};

/// Nobody looks at single trades.
struct NoWatch {
  /// What the account would be worth without a position, what it is worth before the costs, and these.
  template <class V>
  WQ_HD void filled(V, V, V) const {}
};

/// An account from close to close. It starts with an equity of 1, and ends for good at 0.
template <class V>
struct Account {
  V equity = V(1.0), holding = V(0.0);  // `holding`: what the position is worth, below 0 if short
  V target = V(0.0), side = V(0.0);     // `target`: share of the equity to hold, with its sign
  Drawdown<V> drawdown;
  V held = V(0.0), turnover = V(0.0);  // bars with a position; traded notional in equities
  V trades = V(0.0), won = V(0.0), profit = V(0.0), loss = V(0.0);
  V entry = V(0.0);  // equity when the trade under way began

  /// The return of a bar over which the price moves by `r` and at whose close `wanted` is to be held on `wanted_side`.
  /// Unless on `every_bar`, nothing is traded while that stays the same.
  template <class Watch>
  WQ_HD V step(V wanted_side, V wanted, V r, const Rates<V>& rates, bool every_bar, Watch&& watch) {
    const V before = equity, nothing(0.0);
    held = add_if(ne(holding, nothing), held, V(1.0));
    const V rate = select(lt(holding, nothing), rates.held_short, rates.held_long);
    const V moved = max(holding * (r - rate), nothing - before);
    equity = before + moved;
    const auto alive = gt(equity, nothing);
    holding = keep_if(alive, holding + holding * r);
    wanted_side = keep_if(alive, wanted_side);
    wanted = keep_if(alive, wanted);
    V paid(0.0);
    auto fills = either(ne(wanted_side, side), ne(wanted, target));
    if (every_bar) fills = either(fills, ne(wanted, nothing));
    if (any(fills)) {
      paid = fill(fills, wanted_side, wanted, rates.trade, watch);
      const auto is_left = gt(equity, nothing);  // unless closing took all
      holding = keep_if(is_left, holding);
      wanted_side = keep_if(is_left, wanted_side);
      wanted = keep_if(is_left, wanted);
    }
    side = wanted_side;
    target = wanted;
    drawdown.add(equity);
    return div_if(gt(before, nothing), moved - paid, before);
  }

  /// After the last bar: a trade under way counts with what it is worth then.
  WQ_HD void finish() { close(ne(side, V(0.0)), equity); }

  /// As before the bar, in the lanes of `m`.
  WQ_HD void take_back(decltype(lt(V(), V())) m, const Account& old) {
    V* const now[] = {&equity, &holding, &target, &side, &held, &turnover, &trades, &won, &profit, &loss, &entry};
    const V was[] = {old.equity, old.holding, old.target, old.side, old.held, old.turnover,
                     old.trades, old.won,     old.profit, old.loss, old.entry};
    for (int i = 0; i < 11; ++i) *now[i] = select(m, was[i], *now[i]);
    drawdown.take_back(m, old.drawdown);
  }

 private:
  /// Trade to `wanted`, the share of what is left after the costs of that; returns the costs.
  template <class M, class Watch>
  WQ_HD V fill(M fills, V wanted_side, V wanted, V rate, Watch&& watch) {
    const V nothing(0.0);
    // With the costs c |next - holding| taken off first, next = wanted (equity - costs); solved for `next`.
    const V c = select(gt(wanted * equity, holding), rate, nothing - rate);
    const V free = equity + c * holding;
    const V next = keep_if(gt(free, nothing), wanted * free / (V(1.0) + wanted * c));
    const V traded = abs(next - holding);
    const V paid = keep_if(fills, min(rate * traded, equity));
    // When a position turns, the costs of closing belong to the old trade, those of opening to the new one.
    const V left = equity - min(rate * abs(holding), equity);
    const auto turns = both(fills, ne(wanted_side, side));
    close(both(turns, ne(side, nothing)), left);
    const auto opens = both(both(turns, ne(wanted_side, nothing)), gt(left, nothing));
    entry = select(opens, left, entry);
    trades = add_if(opens, trades, V(1.0));
    turnover = add_if(fills, turnover, div_if(gt(equity, nothing), traded, equity));
    watch.filled(left, equity, paid);
    holding = select(fills, next, holding);
    equity = equity - paid;
    return paid;
  }

  template <class M>
  WQ_HD void close(M closes, V left) {
    const V gain = left - entry;
    profit = add_if(closes, profit, max(gain, V(0.0)));
    loss = add_if(closes, loss, max(V(0.0) - gain, V(0.0)));
    won = add_if(both(closes, gt(gain, V(0.0))), won, V(1.0));
  }
};

/// The equity of given returns; one of -1 or less ends it. Gives the return as it counts.
template <class V>
struct Compounding {
  V equity = V(1.0);
  Drawdown<V> drawdown;

  WQ_HD V step(V r) {
    const V counted = keep_if(gt(equity, V(0.0)), max(r, V(-1.0)));
    equity = equity + equity * counted;
    drawdown.add(equity);
    return counted;
  }

  WQ_HD void take_back(decltype(lt(V(), V())) m, const Compounding& old) {
    equity = select(m, old.equity, equity);
    drawdown.take_back(m, old.drawdown);
  }
};

}  // namespace wq::backtest::inline WQ_LEVEL
