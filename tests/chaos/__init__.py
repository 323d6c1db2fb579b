"""Chaos: every ordinary disaster of a cluster, made on a real one, judged by the exchange's own log."""
