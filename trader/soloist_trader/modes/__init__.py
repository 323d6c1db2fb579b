"""Other edges around the same core: replay of a tape, backtest on recorded markets, the simulated venue of both."""
