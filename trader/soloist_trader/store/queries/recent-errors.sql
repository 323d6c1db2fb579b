-- The fifty newest errors of the last day before the newest log line.
SELECT * FROM recent_errors
ORDER BY record DESC
LIMIT 50;
