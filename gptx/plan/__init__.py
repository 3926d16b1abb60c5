"""What a budget is best spent on, and what a composition costs and means, before it runs."""
