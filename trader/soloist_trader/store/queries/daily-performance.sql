-- What each of the last seven trading days made. A trade counts on the day on which it ended.
SELECT * FROM daily_performance
ORDER BY trade_date DESC
LIMIT 7;
