# SPDX-License-Identifier: Apache-2.0
"""An account that follows a signal, by its definition, one bar after the other."""

from __future__ import annotations

import math

import numpy as np


def side_of(signal, side, rules):
    """1 long, -1 short, 0 flat; `side` is the one before."""
    may_long, may_short = rules.side != "short", rules.side != "long"
    if math.isnan(signal):
        return 0
    if rules.signal == "direction":
        return 1 if signal > 0 and may_long else -1 if signal < 0 and may_short else 0
    if may_long and signal > rules.long_above:
        return 1
    if may_short and signal < rules.short_below:
        return -1
    if (side == 1 and signal < rules.long_exit) or (side == -1 and signal > rules.short_exit):
        return 0
    return side


def target_of(signal, side, past, rules, year):
    """Share of the equity to hold; `past`: the returns of the price until now."""
    if side == 0:
        return 0.0
    if rules.sizing == "full":
        return side * rules.size
    if rules.sizing == "signal":
        return side * rules.size * min(max(side * signal, 0.0), 1.0)
    window = past[-rules.volatility_window :]
    if len(window) < rules.volatility_window:
        return 0.0
    annual = np.std(window, ddof=1) * math.sqrt(year) if min(window) < max(window) else 0.0
    wanted = rules.size * rules.target_volatility / annual if annual > 0 else math.inf
    return side * min(wanted, rules.max_size)


def follow(prices, signal, rules, costs, starting=1.0, year=252.0):
    """Position, return and equity of each bar, and the trades."""
    rate = costs.fee + costs.slippage
    n = len(prices)
    position, returns, equity = np.zeros(n), np.full(n, math.nan), np.full(n, float(starting))
    money, holding, side, target, entry = float(starting), 0.0, 0, 0.0, None
    latched, last, past, decided, trades, turnover, held = 0, None, [], [], [], 0.0, 0
    for i in range(n):
        price = float(prices[i])
        if not 0 < price < 2.0**1000:
            if i:
                position[i], equity[i] = position[i - 1], equity[i - 1]
            continue
        before, moved = money, 0.0
        if last is not None:
            change = (price - last) / last
            past.append(change)
            held += holding != 0
            moved = holding * change - costs.funding * holding - costs.borrow * max(-holding, 0.0)
            holding += holding * change
            money += moved
        last = price
        latched = side_of(float(signal[i]), latched, rules)
        decided.append((latched, target_of(float(signal[i]), latched, past, rules, year)))
        to_side, to = decided[-rules.delay] if len(decided) >= rules.delay else (0, 0.0)
        if money <= 0:
            money = holding = 0.0
            moved, to_side, to = -before, 0, 0.0
        paid = 0.0
        if to_side != side or to != target or (rules.rebalance == "bar" and to != 0):
            # next = to * (money - rate * |next - holding|), on either side of what is held
            more, less = ((to * (money + s * rate * holding) / (1 + s * rate * to)) for s in (1, -1))
            after = more if to * money > holding else less
            closing = min(rate * abs(holding), money)
            if money - closing <= 0:
                after = 0.0
            paid = min(rate * abs(after - holding), money)
            turnover += abs(after - holding) / money if money > 0 else 0.0
            if to_side != side:
                if side != 0:
                    entry.update(exit_bar=i, exit_price=price, gain=money - closing - entry["from"], open=False)
                    entry["bars"] = len(past) - entry["at"]
                    entry["fees"] += closing
                    entry["return"] = (money - closing) / entry["from"] - 1
                    trades.append(entry)
                    entry = None
                if to_side != 0:
                    fees = paid - (closing if side != 0 else 0.0)
                    entry = {
                        "entry_bar": i, "entry_price": price, "side": to_side, "size": abs(to), "fees": fees,
                        "from": money - closing, "at": len(past),
                    }  # fmt: skip
            elif entry is not None:
                entry["fees"] += paid
            holding, money = after, money - paid
        side, target = to_side, to
        returns[i] = (moved - paid) / before if before > 0 else 0.0
        position[i] = holding / money if money > 0 else 0.0
        equity[i] = money
    if entry is not None:
        present = [i for i in range(n) if 0 < prices[i] < 2.0**1000]
        entry.update(exit_bar=present[-1], exit_price=last, open=True, bars=len(past) - entry["at"])
        entry["return"], entry["gain"] = money / entry["from"] - 1, money - entry["from"]
        trades.append(entry)
    return {
        "position": position, "returns": returns, "equity": equity, "trades": trades,
        "turnover": turnover, "held": held, "starting": starting,
    }  # fmt: skip


def of_returns(returns, year=252.0, free=0.0, tail=0.05):
    """Metrics of returns by their textbook formulas."""
    r = np.array([x for x in returns if math.isfinite(x)])
    n = len(r)
    nan = math.nan
    out = dict.fromkeys(
        ("total_return", "annual_return", "volatility", "sharpe", "sortino", "max_drawdown", "max_drawdown_bars",
         "calmar", "var", "cvar", "skew", "kurtosis"), nan)  # fmt: skip
    if n == 0:
        return out
    money, peak, worst, under, longest, counted = 1.0, 1.0, 0.0, 0, 0, []
    for x in r:
        counted.append(max(x, -1.0) if money > 0 else 0.0)
        money = max(money * (1 + x), 0.0) if x > -1 else 0.0
        peak = max(peak, money)
        worst = min(worst, money / peak - 1)
        under = under + 1 if money < peak else 0
        longest = max(longest, under)
    r = np.array(counted)
    out["total_return"] = money - 1
    out["annual_return"] = money ** (year / n) - 1
    out["max_drawdown"], out["max_drawdown_bars"] = worst, longest
    if worst < 0:
        out["calmar"] = out["annual_return"] / -worst
    per_bar = (1 + free) ** (1 / year) - 1
    excess = math.fsum(r) / n - per_bar
    varies = r.min() < r.max()
    if n > 1:
        out["volatility"] = np.std(r, ddof=1) * math.sqrt(year) if varies else 0.0
    if varies:
        out["sharpe"] = excess / np.std(r, ddof=1) * math.sqrt(year)
        d = r - math.fsum(r) / n
        out["skew"] = np.mean(d**3) / np.mean(d**2) ** 1.5
        out["kurtosis"] = np.mean(d**4) / np.mean(d**2) ** 2
    downside = math.sqrt(math.fsum(min(x - per_bar, 0.0) ** 2 for x in r) / n)
    if downside > 0:
        out["sortino"] = excess / downside * math.sqrt(year)
    out["var"] = np.quantile(r, tail)
    out["cvar"] = math.fsum(np.sort(r)[: int((n - 1) * tail) + 1]) / (int((n - 1) * tail) + 1)
    return out


def metrics(account, year=252.0, free=0.0, tail=0.05):
    """Metrics of what `follow` gives."""
    out = of_returns(account["returns"], year, free, tail)
    trades, n = account["trades"], int(np.isfinite(account["returns"]).sum())
    out["trades"] = len(trades)
    gains = [t["gain"] for t in trades]
    profit, loss = math.fsum(g for g in gains if g > 0), -math.fsum(g for g in gains if g < 0)
    out["hit_rate"] = sum(g > 0 for g in gains) / len(gains) if gains else math.nan
    out["profit_factor"] = profit / loss if loss > 0 else math.inf if profit > 0 else math.nan
    out["turnover"] = account["turnover"] * year / n if n else math.nan
    out["exposure"] = account["held"] / n if n else math.nan
    return out
