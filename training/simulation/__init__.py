"""A simulated shop to try Kairos on: its customers, what they do, and the crowd that plays them over HTTP.

Nothing here knows the service's code: the crowd speaks to it by HTTP only.
"""
