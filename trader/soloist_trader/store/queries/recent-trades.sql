-- The twenty trades that began last, open ones too.
SELECT * FROM recent_trades
ORDER BY entry_time DESC, trade_id DESC
LIMIT 20;
