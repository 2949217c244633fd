"""The pages' languages."""
