"""The runbook's queries, each a file that a person can paste into `sqlite3` or `psql`."""
