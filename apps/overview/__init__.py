"""The first page, the claims and search: reads every room and owns nothing."""
