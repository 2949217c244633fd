"""Alerts: what is checked, who is told."""
