"""The queue, running builds, their logs and history."""
