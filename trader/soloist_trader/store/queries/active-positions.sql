-- What is held now, market by market.
SELECT * FROM active_positions
ORDER BY market;
