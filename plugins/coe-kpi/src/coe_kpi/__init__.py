"""Four KPIs of the ledger, on every surface the same, and alerts that say what to do."""
