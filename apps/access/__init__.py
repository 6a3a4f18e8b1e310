"""Access: who may log in where, with whose key, until when; and the proof that the others may not."""
