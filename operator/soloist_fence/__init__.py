"""Key custody: the only code that ever sees a management key. It places no order and imports no engine."""
