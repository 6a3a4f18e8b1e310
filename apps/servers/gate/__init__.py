"""The gate: the program on the server, the words spoken with it, and the script that an admin pastes."""
