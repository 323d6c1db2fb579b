"""Reports for people: one HTML file with its pictures inside, nothing loaded from elsewhere."""
