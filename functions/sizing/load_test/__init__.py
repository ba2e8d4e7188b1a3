"""A load test: planned, run, observed, and when its observations count.

Here live the plan and its fleet of load generators with what they cost and which quotas they need,
what Locust and CloudWatch showed, and what that means for the rate it was shown at.
"""
