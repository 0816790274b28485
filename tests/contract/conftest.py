"""Assertions of the public contract tell what they compared, like those of a test."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("launchers.testing")
