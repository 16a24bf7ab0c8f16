"""What every flow has around its own steps: settings, run folder, states, artifacts, progress, limits."""
