"""The scoreboard: held-out predictions of a table of measured runs against every yardstick, part by part."""
