"""The journal: an append-only chain of batches on disk. An order's intent is in it before its bytes leave."""
