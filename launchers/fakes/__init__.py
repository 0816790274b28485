"""Programs that play a batch system, for tests: of this project, and of plugins by others."""
