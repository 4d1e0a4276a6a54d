"""`kairos models`: the versions of models, beside each other, and which of them serves."""
