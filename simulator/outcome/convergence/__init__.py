"""What samples and steps a target takes: curves against batch, points, pooling, schedules, ceilings, scaling laws."""
