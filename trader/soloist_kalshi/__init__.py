"""The venue's contract as a client: numbers, signing, messages, limits, fees, REST, WebSocket and the order path.

Import from the modules, not from here: `rest` needs httpx, `orders` aiohttp and `websocket` picows, and a process that never places an
order (the fence) must not load the order path. Each module names its public surface in `__all__`.
"""

__all__ = [
    "attempt_budget",
    "clock",
    "codec",
    "errors",
    "fees",
    "frames",
    "keys",
    "limits",
    "messages",
    "numbers",
    "orders",
    "rest",
    "signing",
    "websocket",
]
