"""A local exchange that speaks the venue's contract over real sockets.

Layers, lower ones know nothing of higher ones:

    orders, matching,
    ledger, collateral            pure: integers in, integers out
    venue                         markets + accounts + matching + money; emits what happened
    scenario, flow                who trades besides the connected accounts
    store, exchange               SQLite: what survives a kill, and the log that is the oracle
    wire, rest*, feed, admin      the wire
    server, cli                   sockets and processes
"""
