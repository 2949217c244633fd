"""Runs repository code in Kubernetes pods."""
