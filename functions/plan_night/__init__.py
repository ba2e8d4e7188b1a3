"""PlanNight: which profiles a nightly run sizes next, and what is said of it in the end."""
