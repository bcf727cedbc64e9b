"""Ray Tune, the only package of the driver that imports ray."""
