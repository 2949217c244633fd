"""Routes for BinderHub's clients."""
