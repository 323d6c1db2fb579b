"""`soloist-trader reconcile` beside a journal that was never compared with the venue."""

from urllib.parse import parse_qs, urlsplit

import msgspec
from soloist_kalshi.messages import (
    Balance,
    FillPage,
    HistoricalCutoff,
    OrderPage,
    PositionPage,
    SettlementPage,
)
from soloist_kalshi.signing import generate_private_key
from soloist_trader.cli.reconcile import _compare
from soloist_trader.core.records import Started
from soloist_trader.journal.writer import Journal
from soloist_trader.shell.recovery import OVERLAP_MS

from tests.unit.soloist_kalshi.kalshi_servers import ScriptedServer, reply
from tests.unit.soloist_trader.test_config import write

STARTED_MS = 1_800_000_000_000
BODIES = {
    "user_data_timestamp": b'{"as_of_time":"2027-01-15T08:00:00Z"}',
    "orders": msgspec.json.encode(OrderPage(orders=[])),
    "fills": msgspec.json.encode(FillPage(fills=[])),
    "settlements": msgspec.json.encode(SettlementPage(settlements=[])),
    "positions": msgspec.json.encode(PositionPage(market_positions=[], event_positions=[])),
    "balance": msgspec.json.encode(Balance(balance=1, balance_dollars="0.01", portfolio_value=0, updated_ts=1)),
    "cutoff": msgspec.json.encode(
        HistoricalCutoff(**dict.fromkeys(("market_settled_ts", "trades_created_ts", "orders_updated_ts"), "2026-01-01T00:00:00Z"))
    ),
}  # fmt: skip


async def test_without_a_cursor_it_compares_from_the_journals_start(tmp_path):
    asked = {}

    async def answer(request):
        url = urlsplit(request.target)
        name = url.path.rsplit("/", 1)[1]
        asked[name] = parse_qs(url.query)
        return reply(200, BODIES[name])

    state, keys = tmp_path / "state", tmp_path / "keys"
    state.mkdir()
    keys.mkdir()
    journal = Journal(state)
    journal.open(lambda _record: None)
    journal.append(Started(STARTED_MS, "1a2b3c", 0, 1, 7, "Live"))
    journal.commit()
    journal.close()
    (keys / "epoch").write_text("1")
    (keys / "generation").write_text("1")
    (keys / "g1.key-id").write_text("key-1")
    key_file = keys / "g1.private-key.pem"
    key_file.write_bytes(generate_private_key("ed25519").private_pem)
    key_file.chmod(0o400)
    async with ScriptedServer(answer) as server:
        rows = await _compare(write(tmp_path, {"venue.rest_url": server.base_url}), keys, state)
    assert [(row.kind, row.verdict) for row in rows] == [("cash", "pending")]
    since_s = str((STARTED_MS - OVERLAP_MS) // 1000)
    assert asked["fills"]["min_ts"] == asked["settlements"]["min_ts"] == [since_s]
