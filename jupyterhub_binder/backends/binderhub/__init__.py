"""The `binderhub` and `federation` backends, which build on one or several BinderHubs."""
