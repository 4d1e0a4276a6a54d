"""Audiences: the decision of a placement for all customers at once, for channels that go to people who are away."""
