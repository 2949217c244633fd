"""Small tools that know nothing of environments or builds; every process imports them."""
