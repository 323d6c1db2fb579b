"""The watchdog: a process beside the engine that ends it when it is silent and takes its orders out of the venue's book.

`pulse` and `process` are what it knows of the engine, `silence` judges, `road` is the kill in its fixed order, `audit` looks
for orders that should not be, `keys` keeps both processes' keys current, `service` holds it together.
"""
