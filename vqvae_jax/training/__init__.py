"""From a config to a trained model: config, step, loop, checkpoints, metrics."""
