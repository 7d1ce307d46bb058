"""Deciding how many Edge TPUs to use, and for what."""

from atoll.plan.counts import Arrangement, Plan, Search, fewest_for, plan_counts
from atoll.plan.several import Assignment, Group, ModelNeeds, share_devices

__all__ = [
    "Arrangement",
    "Assignment",
    "Group",
    "ModelNeeds",
    "Plan",
    "Search",
    "fewest_for",
    "plan_counts",
    "share_devices",
]
