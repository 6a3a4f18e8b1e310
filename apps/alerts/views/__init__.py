"""The pages of the alerts room: incidents and channels."""
