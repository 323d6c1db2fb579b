"""The engine: a pure core, a journal, an asynchronous edge, strategies and a command line.

Prices are integers of 1/10 000 dollar, counts of 1/100 contract, money of 1/1 000 000 dollar, everywhere.
"""
