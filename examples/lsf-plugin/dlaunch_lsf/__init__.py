"""Task clusters on LSF, by a plugin for dlaunch."""
