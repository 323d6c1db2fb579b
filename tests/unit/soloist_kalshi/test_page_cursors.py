"""The three ways in which a page may say that it is the last (section 3.4) can all be written and read."""

import msgspec
import pytest
from soloist_kalshi import messages
from soloist_kalshi.codec import decode

PAGES = {
    messages.MarketPage: {"markets": []},
    messages.TradePage: {"trades": []},
    messages.EventPage: {"events": []},
    messages.OrderPage: {"orders": []},
    messages.FillPage: {"fills": []},
    messages.PositionPage: {"market_positions": [], "event_positions": []},
    messages.SettlementPage: {"settlements": []},
    messages.TransferPage: {"transfers": []},
    messages.ShardTransferPage: {"transfers": []},
    messages.EventFeeChangePage: {"event_fee_changes": []},
}
ENDS = [("", b'"cursor":""'), (None, b'"cursor":null'), (msgspec.UNSET, None), ("17", b'"cursor":"17"')]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("cursor", "written"), ENDS)
def test_the_encoding_of_a_page_is_the_wires(page, cursor, written):
    raw = msgspec.json.encode(page(**PAGES[page], cursor=cursor))
    assert (written in raw) if written else (b"cursor" not in raw)
    assert decode(raw, page).cursor == cursor
