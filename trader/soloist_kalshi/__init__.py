"""The venue's contract as a client: numbers, signing, messages, limits, fees, REST, WebSocket, the order path, feed and account.

Import from the modules, not from here: `rest` needs httpx, `orders` httptools and `websocket` picows, and a process that never places an
order (the fence) must not load the order path. Each module names its public surface in `__all__`.
"""

__all__ = [
    "account_facts",
    "account_view",
    "attempt_budget",
    "book",
    "clock",
    "codec",
    "custody",
    "errors",
    "fees",
    "frames",
    "keys",
    "limits",
    "market_feed",
    "messages",
    "numbers",
    "orders",
    "planner",
    "rest",
    "rest_keys",
    "signing",
    "staleness",
    "websocket",
]
