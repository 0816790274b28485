"""Jobscript templates (``*.sh.j2``) and how they are rendered.  Knows no launcher and no daemon."""
