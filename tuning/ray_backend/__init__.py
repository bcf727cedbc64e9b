"""Ray Tune, the only room of the driver that imports ray."""
