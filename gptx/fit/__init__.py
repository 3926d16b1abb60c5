"""What some runs say of others: laws fitted to finished runs."""
