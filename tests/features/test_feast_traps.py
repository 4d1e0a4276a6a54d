"""What Feast 0.67 on Redis does that one would not expect, held fast: a change here must be met in features/.

Telemetry: Feast sends none since 0.5x, and these tests set nothing for it.
"""
