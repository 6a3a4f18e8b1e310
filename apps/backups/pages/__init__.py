"""Page arithmetic of the backups room: rows become what the templates show. They only read."""
