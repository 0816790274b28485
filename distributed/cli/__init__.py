"""Commands: options to settings to daemons to exit codes, and nothing else."""
