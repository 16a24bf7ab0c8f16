"""The steps of flows, a room for each mission."""
