"""How long tests wait for what has to come.

Only a test that fails waits for so long: it is not how fast something is, but what a slow and busy machine
may need. How long the product may take is a setting of the product in that test, never this.
"""

PATIENCE_SECONDS = 240.0
