-- The twenty newest states of the account.
SELECT * FROM account_history
ORDER BY record DESC
LIMIT 20;
