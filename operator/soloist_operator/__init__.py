"""The operator: from TradingBots to their children, by observe -> decide -> apply. kopf is in app.py only."""
