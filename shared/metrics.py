"""Every metric, in one place. Labels never hold ids, names or e-mail."""

from __future__ import annotations
