"""The collector: one process that asks every server it leases, each minute and each hour, over kept connections."""
