"""A second venue, written to be read and not to be fast: one list of resting orders, everything else computed from scratch.

It knows the contract's rules (sections 3.3, 6, 8, 9, 12) and shares no code and no data structure with the exchange. Money is in
1/1 000 000 dollar, prices in 1/10 000 dollar, counts in 1/100 contract. A refused call raises Refusal with the wire's code.
"""

from __future__ import annotations

from typing import Any

BUY, SELL = 1, -1
LIVE, GONE, DONE = "resting", "canceled", "executed"


class Refusal(Exception):  # noqa: N818 - reads as what happened
    """A refused call; the argument is the code."""


class ReferenceVenue:
    """`rules` holds the switches by name; `markets` is {ticker: {shard, fee, multiplier}}, `accounts` {id: (money, is_internal)}."""

    def __init__(
        self, rules: dict[str, Any], markets: dict[str, Any], accounts: dict[int, Any], now: int
    ) -> None:
        self.rules = rules
        self.now = now
        self.markets = {t: {**m, "status": "active", "tick": 500} for t, m in markets.items()}
        self.cash = {(a, 0, 0): money for a, (money, _) in accounts.items()}
        self.deposits = sum(money for money, _ in accounts.values())
        self.internal = {a for a, (_, internal) in accounts.items() if internal}
        self.held: dict[tuple[int, int, str], dict[str, int]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.queue: list[dict[str, Any]] = []  # everything that rests, in the order of arrival
        self.groups: dict[str, dict[str, Any]] = {}
        self.names: set[tuple[int, int, str]] = set()
        self.events: list[tuple[Any, ...]] = []
        self.fees = self.rounding = 0
        self.trading = True
        self.trades = 0

    # ---------------------------------------------------------------- what can be asked

    def create(self, order: dict[str, Any]) -> None:
        market = self.markets[order["ticker"]]
        self._tradable(market)
        self._name_is_free(order, order["name"])
        if order["size"] <= 0:
            raise Refusal("invalid_order_size")
        self._on_grid(market, order["price"])
        self._expires_later(order, order["expires"])
        self._group_is_open(order, market)
        crossing = bool(self._opposite(order, order["price"]))
        if order["post_only"] and crossing and self.rules["post_only_cross"] == "reject":
            raise Refusal("invalid_order")
        size = order["size"] if order["account"] in self.internal else self._affordable_size(order)
        order |= {
            "size": size, "left": size, "filled": 0, "state": LIVE, "why": "", "carry": 0, "paid": 0, "fees": 0,
            "shard": market["shard"],
        }  # fmt: skip
        self.orders[order["id"]] = order
        if order["post_only"] and crossing:
            self._end(order, "PostOnlyCrossCancel")
        elif order["life"] == "fok" and not self._fills(order, size):
            self._end(order, "")
        else:
            self._trade(order)
        if self.rules["zero_fill_ioc_uses_id"] or order["filled"] or order["life"] == "gtc":
            self.names.add((order["account"], order["sub"], order["name"]))

    def cancel(self, order_id: str) -> None:
        order = self.orders[order_id]
        self._cancelable(order)
        self._end(order, "")

    def amend(
        self, order_id: str, price: int | None, size: int | None, expires: int | None, name: str | None
    ) -> None:
        order = self.orders[order_id]
        market = self.markets[order["ticker"]]
        self._tradable(market)
        if order["state"] != LIVE:
            raise Refusal("not_found")
        if name is not None and name != order["name"]:
            self._name_is_free(order, name)
        price = order["price"] if price is None else price
        left = order["left"] if size is None else size - order["filled"]
        if left <= 0:
            raise Refusal("invalid_order_size")
        if price != order["price"]:
            self._on_grid(market, price)
        self._expires_later(order, expires)
        crossing = bool(self._opposite(order, price))
        moves = price != order["price"]
        if order["post_only"] and moves and crossing and self.rules["post_only_cross"] == "reject":
            raise Refusal("invalid_order")
        if order["account"] not in self.internal and (moves or left != order["left"]):
            if order["reduce_only"]:
                left = min(left, self._closable(order))
            self._affordable(order, price, left)
        if name is not None:
            order["name"] = name
            self.names.add((order["account"], order["sub"], name))
        if expires is not None:
            order["expires"] = expires
        again = moves or left > order["left"]
        order |= {"price": price, "left": left, "size": order["filled"] + left, "why": "Amend"}
        if again:
            self._leave(order)
            if order["post_only"] and crossing:
                self._end(order, "PostOnlyCrossCancel")
            else:
                self._trade(order)

    def decrease(self, order_id: str, left: int) -> None:
        order = self.orders[order_id]
        self._cancelable(order)
        if left < 0 or left > order["left"] or (left == 0 and self.rules["reduce_to_zero"] == "reject"):
            raise Refusal("invalid_order_size")
        if left == 0:
            self._end(order, "Decrease")
        elif left < order["left"]:
            order |= {"left": left, "why": "Decrease"}

    def cancel_all(self, account: int, sub: int | None) -> None:
        for order in [o for o in self.queue if o["account"] == account and sub in {None, o["sub"]}]:
            if self.markets[order["ticker"]]["status"] in {"active", "inactive"}:
                self._end(order, "")

    def group(self, group_id: str, account: int, sub: int, shard: int, limit: int) -> None:
        self.groups[group_id] = {
            "account": account, "sub": sub, "shard": shard, "limit": limit, "triggered": False, "matches": [],
        }  # fmt: skip

    def reset(self, group_id: str) -> None:
        self.groups[group_id] |= {"triggered": False, "matches": []}

    def trigger(self, group_id: str) -> None:
        if not self.groups[group_id]["triggered"]:
            self.groups[group_id]["triggered"] = True
            self._empty(group_id)

    def limit(self, group_id: str, limit: int) -> None:
        self.groups[group_id]["limit"] = limit
        self._judge(group_id)

    def delete(self, group_id: str) -> None:
        self._empty(group_id)
        del self.groups[group_id]

    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds
        for order in [o for o in self.queue if o["expires"] and o["expires"] <= self.now]:
            if order["account"] not in self.internal:
                self._end(order, "ExpiryCancel")

    def pause(self) -> None:
        self.trading = False
        for order in [o for o in self.queue if o["on_pause"] and o["account"] not in self.internal]:
            self._end(order, "HaltCancel")

    def resume(self) -> None:
        self.trading = True

    def deactivate(self, ticker: str) -> None:
        self._from(ticker, "active", "inactive")

    def activate(self, ticker: str) -> None:
        self._from(ticker, "inactive", "active")
        self._clear(ticker, "HaltCancel")

    def retick(self, ticker: str, tick: int) -> None:
        self.markets[ticker]["tick"] = tick

    def transfer(self, account: int, source: tuple[int, int], target: tuple[int, int], money: int) -> None:
        if money <= 0 or source == target:
            raise Refusal("bad_request")
        if money > self.free(account, *source):
            raise Refusal("insufficient_balance")
        self._pay(account, *source, -money)
        self._pay(account, *target, money)

    def finish(self, ticker: str, value: int) -> None:
        """Close, determine and settle a market whose YES is worth `value`."""
        self._clear(ticker, "CloseCancel")
        self.markets[ticker]["status"] = "finalized"
        pot = 0
        for (account, sub, where), held in self.held.items():
            if where == ticker and held["count"]:
                worth = held["count"] * value if held["count"] > 0 else -held["count"] * (10_000 - value)
                pot += max(0, held["count"]) * 10_000
                paid = (worth * 2 + 10_000) // 20_000 * 10_000
                self.rounding -= paid
                held["gain"] += paid - held["cost"]
                held["count"] = held["cost"] = 0
                self._pay(account, sub, self.markets[ticker]["shard"], paid)
        self.rounding += pot

    # ---------------------------------------------------------------- what can be looked at

    def line(self, ticker: str, side: int) -> list[dict[str, Any]]:
        """The resting orders of one side, who is served first first."""
        own = [o for o in self.queue if o["ticker"] == ticker and o["side"] == side]
        return sorted(
            own, key=lambda o: -side * o["price"]
        )  # stable: equal prices stay in the order of arrival

    def reserved(self, account: int, sub: int, shard: int) -> int:
        tickers = {
            o["ticker"] for o in self.queue if (o["account"], o["sub"], o["shard"]) == (account, sub, shard)
        }
        return sum(self._needs(account, sub, ticker, None) for ticker in tickers)

    def free(self, account: int, sub: int, shard: int) -> int:
        return self.cash.get((account, sub, shard), 0) - self.reserved(account, sub, shard)

    def matched(self, group_id: str) -> int:
        return sum(count for time, count in self.groups[group_id]["matches"] if time > self.now - 15_000)

    def check(self) -> None:
        """The laws: no contract without its other half, no money that was not deposited."""
        locked = 0
        for ticker in self.markets:
            counts = [held["count"] for (_, _, where), held in self.held.items() if where == ticker]
            assert sum(counts) == 0
            locked += sum(count for count in counts if count > 0) * 10_000
        assert sum(self.cash.values()) + self.fees + self.rounding + locked == self.deposits

    # ---------------------------------------------------------------- how it is done

    def _tradable(self, market: dict[str, Any]) -> None:
        if not self.trading:
            raise Refusal("trading_is_paused")
        if market["status"] != "active":
            raise Refusal("MARKET_INACTIVE")

    def _on_grid(self, market: dict[str, Any], price: int) -> None:
        if price % market["tick"] or not 0 < price < 10_000:
            raise Refusal("invalid_price")

    def _expires_later(self, order: dict[str, Any], expires: int | None) -> None:
        if expires and (order["life"] != "gtc" or expires <= self.now):
            raise Refusal("invalid_order")

    def _group_is_open(self, order: dict[str, Any], market: dict[str, Any]) -> None:
        if not order["group"]:
            return
        group = self.groups.get(order["group"])
        place = (order["account"], order["sub"], market["shard"])
        if group is None or (group["account"], group["sub"], group["shard"]) != place:
            raise Refusal("order_group_not_found")
        if group["triggered"]:
            raise Refusal("exceeded_order_group_risk_limit")

    def _affordable_size(self, order: dict[str, Any]) -> int:
        size: int = order["size"]
        if order["reduce_only"]:
            if order["life"] != "ioc" and self.rules["reduce_only"] == "immediate_or_cancel":
                raise Refusal("invalid_order")
            size = min(size, self._closable(order))
            if size == 0:
                raise Refusal("invalid_order")
        if order["life"] == "fok" and self.rules["fill_or_kill"] == "reject" and not self._fills(order, size):
            raise Refusal("fok_insufficient_volume")
        self._affordable(order, order["price"], size)
        return size

    def _cancelable(self, order: dict[str, Any]) -> None:
        if self.markets[order["ticker"]]["status"] not in {"active", "inactive"}:
            raise Refusal("MARKET_INACTIVE")
        if order["state"] != LIVE:
            raise Refusal("not_found")

    def _from(self, ticker: str, old: str, new: str) -> None:
        if self.markets[ticker]["status"] != old:
            raise Refusal("conflict")
        self.markets[ticker]["status"] = new

    def _name_is_free(self, order: dict[str, Any], name: str) -> None:
        one_sub = self.rules["client_order_id_scope"] == "subaccount"
        for account, sub, taken in self.names:
            if account == order["account"] and taken == name and (sub == order["sub"] or not one_sub):
                raise Refusal("order_already_exists")

    def _opposite(self, order: dict[str, Any], price: int) -> list[dict[str, Any]]:
        line = self.line(order["ticker"], -order["side"])
        return [o for o in line if (price - o["price"]) * order["side"] >= 0]

    def _fills(self, order: dict[str, Any], size: int) -> bool:
        """Whether a fill-or-kill order may trade: all of it is there, or one's own order comes first."""
        for other in self._opposite(order, order["price"]):
            if size <= 0:
                return True
            if other["account"] == order["account"]:
                return True
            size -= other["left"]
        return size <= 0

    def _closable(self, order: dict[str, Any]) -> int:
        held = self.held.get((order["account"], order["sub"], order["ticker"]), {"count": 0})["count"]
        return max(0, -held * order["side"])

    def _needs(self, account: int, sub: int, ticker: str, extra: tuple[str, int, int, int] | None) -> int:
        """What the resting orders of an owner in a market need; `extra` is an order (id, side, price, left) to count instead or too."""
        own = [
            (o["side"], o["price"], o["left"])
            for o in self.queue
            if (o["account"], o["sub"], o["ticker"]) == (account, sub, ticker)
            and not (extra and o["id"] == extra[0])
        ]
        if extra:
            own.append(extra[1:])
        held = self.held.get((account, sub, ticker), {"count": 0})["count"]
        total = 0
        for side in (BUY, SELL):
            spare = max(0, -held * side)
            for price, left in sorted(
                ((p, n) for s, p, n in own if s == side), key=lambda item: -side * item[0]
            ):
                opening = max(0, left - spare)
                spare = max(0, spare - left)
                total += opening * (price if side == BUY else 10_000 - price)
        return total

    def _affordable(self, order: dict[str, Any], price: int, left: int) -> None:
        account, sub, ticker = order["account"], order["sub"], order["ticker"]
        shard = self.markets[ticker]["shard"]
        needed = self._needs(account, sub, ticker, (order["id"], order["side"], price, left))
        needed -= self._needs(account, sub, ticker, None)
        if needed > 0:
            needed += self._trade_fee(ticker, price, left, taker=True)
        if needed > max(0, self.free(account, sub, shard)):
            raise Refusal("insufficient_balance")

    def _trade(self, order: dict[str, Any]) -> None:
        while order["left"] and order["state"] == LIVE:
            facing = self._opposite(order, order["price"])
            if not facing:
                break
            other = facing[0]
            if other["account"] == order["account"]:
                self._end(other if order["self_trade"] == "maker" else order, "SelfTradeCancel")
                continue
            self._fill(order, other, min(order["left"], other["left"]))
        if order["state"] != LIVE:
            return
        if order["left"] == 0:
            self._end(order, "Trade")
        elif order["life"] == "gtc":
            self.queue.append(order)
        else:
            self._end(order, "")

    def _fill(self, taker: dict[str, Any], maker: dict[str, Any], count: int) -> None:
        price = maker["price"]
        for order in (taker, maker):
            order["left"] -= count
            order["filled"] += count
            order["why"] = "Trade"
            self._book(order, price, count, taker=order is taker)
        self.trades += 1
        self.events.append(("trade", taker["ticker"], taker["id"], price, count))
        if maker["left"] == 0:
            self._end(maker, "Trade")
        for order in (taker, maker):
            self._cap(order)
            if order["group"] in self.groups:
                self.groups[order["group"]]["matches"].append((self.now, count))
                self._judge(order["group"])

    def _book(self, order: dict[str, Any], price: int, count: int, *, taker: bool) -> None:
        place = (order["account"], order["sub"], order["ticker"])
        cost = count * (price if order["side"] == BUY else 10_000 - price)
        fee = 0
        if order["account"] not in self.internal:
            trade_fee = self._trade_fee(order["ticker"], price, count, taker=taker)
            step = 100 if self.rules["fee_precision"] == "direct" else 10_000
            charged = -((-cost - trade_fee) // step * step)  # the balance falls by this much, in whole steps
            fee = charged - cost
            order["carry"] += fee - trade_fee
            if order["carry"] > 10_000 and fee >= 10_000:
                order["carry"] -= 10_000
                fee -= 10_000
        held = self.held.setdefault(place, {"count": 0, "cost": 0, "gain": 0})
        change = -fee
        before = held["count"]
        closing = min(count, max(0, -before * order["side"]))
        own = price if order["side"] == BUY else 10_000 - price
        if closing:
            share = held["cost"] * closing // abs(before)
            held["cost"] -= share
            held["gain"] += closing * (10_000 - own) - share
            change += closing * (10_000 - own)
        held["cost"] += (count - closing) * own
        change -= (count - closing) * own
        held["count"] += order["side"] * count
        self._pay(order["account"], order["sub"], order["shard"], change)
        self.fees += fee
        order["fees"] += fee
        order["paid"] += cost
        if order["account"] not in self.internal:
            self.events.append(("fill", order["id"], price, count, fee, taker, held["count"]))

    def _trade_fee(self, ticker: str, price: int, count: int, *, taker: bool) -> int:
        market = self.markets[ticker]
        step = 100 if self.rules["fee_step"] == "0.0001" else 1
        share = {
            "quadratic": 0,
            "quadratic_with_maker_fees": 1,
            "quadratic_with_combo_maker_fees": 2,
            "flat": 0,
        }
        quarters = 4 if taker else share[market["fee"]]
        if market["fee"] == "flat":
            top, bottom = (10_000 * count * market["multiplier"] if taker else 0), 100 * 100
        else:
            # 0.07 x contracts x dollars x dollars, in money: 10^6 over 10^2 x 10^2 x 10^4 x 10^4, a multiplier in hundredths, in quarters
            top, bottom = 7 * count * price * (10_000 - price) * market["multiplier"] * quarters, 10**8 * 4
        steps = top // (bottom * step)
        return (steps + (steps * bottom * step != top)) * step

    def _cap(self, filled: dict[str, Any]) -> None:
        place = (filled["account"], filled["sub"], filled["ticker"])
        for order in list(self.queue):
            if not order["reduce_only"] or (order["account"], order["sub"], order["ticker"]) != place:
                continue
            room = self._closable(order)
            if room == 0:
                self._end(order, "ReduceOnlyCancel")
            elif room < order["left"]:
                order |= {"left": room, "why": "Decrease"}

    def _judge(self, group_id: str) -> None:
        over = self.matched(group_id) - self.groups[group_id]["limit"]
        if over > 0 or (over == 0 and self.rules["group_trigger"] == "reached"):
            self.trigger(group_id)

    def _empty(self, group_id: str) -> None:
        for order in self.orders.values():
            if order["group"] == group_id and order["state"] == LIVE and order["left"]:
                self._end(order, "ORDER_GROUP_CANCEL")

    def _clear(self, ticker: str, why: str) -> None:
        for order in [o for o in self.queue if o["ticker"] == ticker]:
            self._end(order, why)

    def _end(self, order: dict[str, Any], why: str) -> None:
        self._leave(order)
        order |= {"state": DONE if order["left"] == 0 and order["filled"] else GONE, "left": 0, "why": why}

    def _leave(self, order: dict[str, Any]) -> None:
        self.queue = [other for other in self.queue if other is not order]

    def _pay(self, account: int, sub: int, shard: int, money: int) -> None:
        self.cash[account, sub, shard] = self.cash.get((account, sub, shard), 0) + money
