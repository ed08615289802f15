"""Which integer format every tensor gets: observed values, ranges, and the plan of formats."""
