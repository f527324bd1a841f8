"""How many machines each model needed at every hour of the week.

`profile` is a JSON object: the hour (counted from the epoch) since which the model is watched, and for each of the 168
hours of the week the week it was seen last in, the hours that were watched, and the mean of the machines needed.
"""

from __future__ import annotations

from typing import Final

from server.store.migration import Migration, statements

MIGRATION: Final = Migration(
    version=11,
    name="demand_profiles",
    statements=statements("""
CREATE TABLE demand_profiles (
  model TEXT PRIMARY KEY,
  profile TEXT NOT NULL,
  updated_at @I NOT NULL
)@S;
CREATE INDEX ix_demand_profiles_updated ON demand_profiles(updated_at)
"""),
)
